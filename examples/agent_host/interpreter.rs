//! The script language: one interpreter a session, kept in the session's live context.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rhai::module_resolvers::DummyModuleResolver;
use rhai::{AST, Dynamic, Engine, EvalAltResult, Scope};
use serde_json::Value;

/// The limits of one line, this one and those below: no line can hang the host or use up its memory.
const OPERATIONS_MAX: u64 = 5_000_000;
const LINE_TIME_MAX: Duration = Duration::from_secs(10);
const CALL_LEVELS_MAX: usize = 32;
const STRING_BYTES_MAX: usize = 1 << 20;
const ELEMENTS_MAX: usize = 10_000;
const VARIABLES_MAX: usize = 1_000;
const STDOUT_BYTES_MAX: usize = 1 << 20;
/// A value that nests deeper is not kept: JSON ends at 127 levels.
const LEVELS_MAX: usize = 100;

/// Variables, functions and the engine that runs lines on them.
pub(crate) struct Interpreter {
    engine: Engine,
    variables: Scope<'static>,
    functions: AST,
    printed: Arc<Mutex<String>>,
    deadline: Arc<Mutex<Option<Instant>>>,
}

/// The result of a line.
pub(crate) struct Outcome {
    pub(crate) result: Result<Answer, String>,
    pub(crate) stdout: String,
    pub(crate) elapsed: Duration,
    /// The signatures of the functions that the line defined.
    pub(crate) functions: Vec<String>,
}

/// The value of a line: as JSON where JSON can hold it, and as a line of text.
pub(crate) struct Answer {
    pub(crate) json: Option<Value>,
    pub(crate) text: String,
}

impl Interpreter {
    pub(crate) fn new() -> Self {
        let printed = Arc::new(Mutex::new(String::new()));
        let deadline = Arc::new(Mutex::new(None));
        let mut engine = Engine::new();
        engine
            .set_max_operations(OPERATIONS_MAX)
            .set_max_call_levels(CALL_LEVELS_MAX)
            .set_max_string_size(STRING_BYTES_MAX)
            .set_max_array_size(ELEMENTS_MAX)
            .set_max_map_size(ELEMENTS_MAX)
            .set_max_variables(VARIABLES_MAX)
            // A script reads no file and waits for nothing.
            .set_module_resolver(DummyModuleResolver::new());
        for seconds in ["i64", "f64"] {
            let refuse = || Err("sleep is not allowed".into());
            match seconds {
                "i64" => engine.register_fn("sleep", move |_: i64| -> Result<(), Box<EvalAltResult>> { refuse() }),
                _ => engine.register_fn("sleep", move |_: f64| -> Result<(), Box<EvalAltResult>> { refuse() }),
            };
        }
        let print = Arc::clone(&printed);
        engine.on_print(move |text| keep(&print, text));
        let print = Arc::clone(&printed);
        engine.on_debug(move |text, _, _| keep(&print, text));
        let until = Arc::clone(&deadline);
        engine.on_progress(move |_| {
            let over = lock(&until).is_some_and(|until| Instant::now() > until);
            over.then(|| "the line took too long".into())
        });
        Self { engine, variables: Scope::new(), functions: AST::empty(), printed, deadline }
    }

    /// Takes back the variables of an earlier process.
    pub(crate) fn restore_variables(&mut self, json: &str) -> Result<(), String> {
        let variables: std::collections::BTreeMap<String, Dynamic> =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        self.variables = Scope::new();
        for (name, value) in variables {
            self.variables.push_dynamic(name, value);
        }
        Ok(())
    }

    /// Takes back the functions that a line of an earlier process defined.
    pub(crate) fn restore_functions(&mut self, code: &str) -> Result<(), String> {
        let ast = self.engine.compile(code).map_err(|error| error.to_string())?;
        self.functions = self.functions.merge(&ast.clone_functions_only());
        Ok(())
    }

    /// Runs a line. One that fails leaves variables and functions as they were.
    pub(crate) fn run(&mut self, code: &str) -> Outcome {
        let begun = Instant::now();
        lock(&self.printed).clear();
        *lock(&self.deadline) = Some(begun + LINE_TIME_MAX);
        let run = self.try_run(code);
        *lock(&self.deadline) = None;
        let stdout = std::mem::take(&mut *lock(&self.printed));
        let (result, functions) = match run {
            Ok((answer, functions)) => (Ok(answer), functions),
            Err(error) => (Err(one_line(&error)), Vec::new()),
        };
        Outcome { result, stdout, elapsed: begun.elapsed(), functions }
    }

    fn try_run(&mut self, code: &str) -> Result<(Answer, Vec<String>), String> {
        let line = self.engine.compile(code).map_err(|error| error.to_string())?;
        let program = self.functions.merge(&line);
        let mut scope = self.variables.clone();
        let value: Dynamic =
            self.engine.eval_ast_with_scope(&mut scope, &program).map_err(|error| error.to_string())?;
        // Later declarations hide earlier ones; what a closure shared becomes a value of its own.
        let mut variables = Scope::new();
        for (name, is_constant, value) in scope.clone_visible().iter() {
            if is_constant {
                variables.push_constant_dynamic(name, value);
            } else {
                variables.push_dynamic(name, value);
            }
        }
        self.variables = variables;
        self.functions = program.clone_functions_only();
        let functions = line.iter_functions().map(|function| function.to_string()).collect();
        Ok((answer(&value.flatten()), functions))
    }

    /// The variables as a JSON object, and the names of those that JSON cannot hold.
    pub(crate) fn variables(&self) -> (Value, Vec<String>) {
        let mut kept = serde_json::Map::new();
        let mut left_out = Vec::new();
        for (name, _, value) in self.variables.iter() {
            match to_json(&value, 0) {
                Some(json) => drop(kept.insert(name.to_owned(), json)),
                None => left_out.push(name.to_owned()),
            }
        }
        (Value::Object(kept), left_out)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(printed: &Mutex<String>, text: &str) {
    let mut printed = lock(printed);
    if printed.len() + text.len() < STDOUT_BYTES_MAX {
        printed.push_str(text);
        printed.push('\n');
    }
}

/// The value as JSON, if JSON can hold it so that it comes back as it was.
fn to_json(value: &Dynamic, level: usize) -> Option<Value> {
    if level > LEVELS_MAX {
        return None;
    }
    if value.is_array() {
        let array = value.as_array_ref().ok()?;
        return array.iter().map(|value| to_json(value, level + 1)).collect::<Option<_>>().map(Value::Array);
    }
    if value.is_map() {
        let map = value.as_map_ref().ok()?;
        let members = map.iter().map(|(name, value)| Some((name.to_string(), to_json(value, level + 1)?)));
        return members.collect::<Option<_>>().map(Value::Object);
    }
    if value.is_unit() {
        return Some(Value::Null);
    }
    if let Ok(float) = value.as_float() {
        return serde_json::Number::from_f64(float).map(Value::Number);
    }
    let plain = value.is_bool() || value.is_int() || value.is_string();
    if plain { serde_json::to_value(value).ok() } else { None }
}

fn answer(value: &Dynamic) -> Answer {
    let json = to_json(value, 0);
    let text = match &json {
        Some(Value::Null) => "()".to_owned(),
        Some(json) => json.to_string(),
        None => one_line(&format!("{value:?}")),
    };
    Answer { json, text }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
