//! A session from its first message to its last, in turns and steps.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldlog::agent::{
    Agent, AgentView, Eval, Failure as AgentFailure, Message, MessageId, PartBody, ResultPart, Step, StepId, ToolCall,
    ToolResult, Turn, TurnId,
};
use foldlog::{Content, ReadOnlyStore, StoredState, Timestamp};

use super::ends_early;
use super::text::Texts;
use crate::agent::{cost, media_on_a_line, name_of, span, tokens, used};
use crate::failure::Failure;
use crate::terminal::{Output, Style, counted, duration, escaped, time};

/// What is shown, and what was shown already.
pub(super) struct Transcript<'a> {
    texts: Texts<'a>,
    state: &'a StoredState<Agent>,
    /// The first turn for each message: one that was interrupted is followed by another.
    by_user_message: HashMap<MessageId, TurnId>,
    steps: HashMap<TurnId, Vec<&'a Step>>,
    evals: HashMap<StepId, Vec<&'a Eval>>,
    evals_of_turns: HashMap<TurnId, Vec<&'a Eval>>,
    /// The evals that answer a call of a tool, by its id.
    answers: HashMap<&'a str, Vec<&'a Eval>>,
    shown_steps: HashSet<StepId>,
    /// When a tool was called whose eval does not say how long it took.
    called: HashMap<String, Timestamp>,
}

/// The messages of a session, each where it is shown. One without a turn is shown in that of the message before it.
#[derive(Default)]
struct Chapters<'a> {
    before: Vec<&'a Message>,
    of_turns: HashMap<TurnId, Vec<&'a Message>>,
    waiting: Vec<&'a Message>,
}

impl<'a> Transcript<'a> {
    pub(super) fn new(store: &'a ReadOnlyStore<Agent>, state: &'a StoredState<Agent>, full: bool) -> Self {
        let view: &AgentView = &state.view;
        let mut this = Self {
            texts: Texts { store, full },
            state,
            by_user_message: HashMap::new(),
            steps: HashMap::new(),
            evals: HashMap::new(),
            evals_of_turns: HashMap::new(),
            answers: HashMap::new(),
            shown_steps: HashSet::new(),
            called: HashMap::new(),
        };
        for turn in view.turns.iter() {
            if let Some(message) = turn.user_message {
                this.by_user_message.entry(message).or_insert(turn.id);
            }
        }
        for step in view.steps.iter() {
            this.steps.entry(step.turn.unwrap_or_default()).or_default().push(step);
        }
        for eval in view.evals.iter() {
            let eval: &Eval = eval;
            if let Some(call) = &eval.call_id {
                this.answers.entry(call).or_default().push(eval);
            } else if let Some(step) = eval.step {
                this.evals.entry(step).or_default().push(eval);
            } else {
                this.evals_of_turns.entry(eval.turn.unwrap_or_default()).or_default().push(eval);
            }
        }
        this
    }

    pub(super) fn write(&mut self, id: &str, output: &mut Output<'_>) -> Result<(), Failure> {
        self.heading(id, output)?;
        let Chapters { before, mut of_turns, waiting } = self.chapters();
        before.into_iter().try_for_each(|message| self.message(message, output))?;
        for turn in self.state.view.turns.iter() {
            self.turn(turn, output)?;
            for message in of_turns.remove(&turn.id).unwrap_or_default() {
                if let Some(step) = message.step {
                    self.begin_step(Some(turn.id), step, output)?;
                }
                self.message(message, output)?;
            }
            self.end_turn(turn.id, output)?;
        }
        // What belongs to no turn.
        self.end_turn(TurnId::default(), output)?;
        if !waiting.is_empty() {
            output.line("")?;
            output.line(output.styled(Style::Heading, "waiting for a turn"))?;
        }
        waiting.into_iter().try_for_each(|message| self.message(message, output))
    }

    /// What was sent while a turn ran stands in the log among the messages of that turn: each message goes to its own.
    fn chapters(&self) -> Chapters<'a> {
        let state = self.state;
        let (turns, messages) = (&state.view.turns, &state.view.messages);
        let waiting: HashSet<_> = state.view.unanswered().map(|message| message.id).collect();
        let mut chapters = Chapters::default();
        let mut last = None;
        for message in messages.iter() {
            let asks_for = self.by_user_message.get(&message.id).copied();
            let turn = message.turn.filter(|turn| turns.get(*turn).is_some()).or(asks_for);
            if turn.is_none() && waiting.contains(&message.id) {
                chapters.waiting.push(message);
                continue;
            }
            last = turn.or(last);
            match last {
                Some(turn) => chapters.of_turns.entry(turn).or_default().push(message),
                None => chapters.before.push(message),
            }
        }
        chapters
    }

    fn heading(&self, id: &str, output: &mut Output<'_>) -> Result<(), Failure> {
        let StoredState { view, report, .. } = self.state;
        let core = view.core();
        let session = view.session.as_deref();
        let status = session.map_or_else(String::new, |session| format!("  {}", name_of(&session.status)));
        let heading = output.styled(Style::Heading, escaped(id));
        output.line(format!("{heading}{status}"))?;
        if !core.title.is_empty() {
            output.line(escaped(&core.title))?;
        }
        let mut facts = vec![
            counted(view.head().get(), "event"),
            counted(view.messages.len() as u64, "message"),
            counted(view.turns.len() as u64, "turn"),
            counted(view.steps.len() as u64, "step"),
        ];
        let (usage, millionths) = used(view);
        facts.extend(tokens(&usage).into_iter().chain(millionths.map(cost)));
        output.line(facts.join(", "))?;
        let of = |labels: &BTreeMap<String, String>| -> Vec<String> {
            labels.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect()
        };
        let mut facts = of(&core.labels);
        if let Some(session) = session {
            let named = |what: &str, value: &Option<String>| value.as_deref().map(|v| format!("{what} {}", escaped(v)));
            let created = session.created.map(|at| format!("created {} UTC", time(at)));
            let more = [
                created,
                named("id", &session.id),
                named("provider", &session.provider),
                named("model", &session.model),
                named("parent", &session.parent),
            ];
            facts.splice(0..0, more.into_iter().flatten().chain(of(&session.labels)));
        }
        if !facts.is_empty() {
            output.line(facts.join(", "))?;
        }
        if let Some(error) = view.error.as_deref() {
            self.failure(error, "", output)?;
        }
        let unfinished: Vec<_> = report.unfinished.iter().map(|what| escaped(&what.to_string()).into_owned()).collect();
        if !unfinished.is_empty() {
            let line = output.styled(Style::Bad, format!("without an end: {}", unfinished.join(", ")));
            output.line(line)?;
        }
        if let Some(reason) = ends_early(self.state) {
            let line = output.styled(Style::Bad, escaped(&reason));
            output.line(line)?;
        }
        Ok(())
    }

    fn turn(&self, turn: &Turn, output: &mut Output<'_>) -> Result<(), Failure> {
        let first = turn.user_message.and_then(|message| self.by_user_message.get(&message));
        let again = first.filter(|first| **first != turn.id).map(|first| format!("for the message of turn {first}"));
        let facts = [
            Some(name_of(&turn.status)),
            span(turn.started, turn.ended),
            turn.usage.as_ref().and_then(tokens),
            turn.cost_millionths.map(cost),
            again,
        ];
        let heading = output.styled(Style::Heading, format!("turn {}", turn.id));
        let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let started = turn.started.map_or_else(String::new, |at| format!("  {} UTC", time(at)));
        output.line("")?;
        output.line(format!("{heading}  {facts}{}", output.styled(Style::Dim, started)))?;
        match &turn.error {
            Some(error) => self.failure(error, "  ", output),
            None => Ok(()),
        }
    }

    /// Shows what is left of a turn: steps without messages, evals without a step, and its result if no message has it.
    fn end_turn(&mut self, turn: TurnId, output: &mut Output<'_>) -> Result<(), Failure> {
        for step in
            self.steps.get(&turn).map(|steps| steps.iter().map(|step| step.id).collect::<Vec<_>>()).unwrap_or_default()
        {
            self.begin_step(Some(turn), step, output)?;
        }
        let evals = self.evals_of_turns.remove(&turn).unwrap_or_default();
        evals.into_iter().try_for_each(|eval| self.eval(eval, output))?;
        match self.state.view.turns.get(turn).and_then(|turn| turn.final_value.as_ref()) {
            Some(value) if !self.is_said(turn, value) => self.block("result", value, output),
            _ => Ok(()),
        }
    }

    /// Whether a message of the turn is this content already.
    fn is_said(&self, turn: TurnId, value: &Content) -> bool {
        let said = self.state.view.messages.iter().rev().take(64).filter(|message| message.turn == Some(turn));
        said.flat_map(|message| &message.parts).any(|part| part.as_text() == Some(value))
    }

    fn begin_step(&mut self, turn: Option<TurnId>, id: StepId, output: &mut Output<'_>) -> Result<(), Failure> {
        if !self.shown_steps.insert(id) {
            return Ok(());
        }
        let Some(step) = self.state.view.steps.get(id) else { return Ok(()) };
        let facts = [
            Some(name_of(&step.status)),
            span(step.started, step.ended),
            step.usage.as_ref().and_then(tokens),
            step.turn.filter(|of| turn != Some(*of)).map(|of| format!("of turn {of}")),
        ];
        let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        output.line(format!("  {}  {facts}", output.styled(Style::Dim, format!("step {id}"))))?;
        if let Some(error) = &step.error {
            self.failure(error, "    ", output)?;
        }
        // A step whose message is not there shows its evals here.
        if step.assistant_message.is_none() { self.evals_of(id, output) } else { Ok(()) }
    }

    fn evals_of(&mut self, step: StepId, output: &mut Output<'_>) -> Result<(), Failure> {
        let evals = self.evals.remove(&step).unwrap_or_default();
        evals.into_iter().try_for_each(|eval| self.eval(eval, output))
    }

    fn message(&mut self, message: &Message, output: &mut Output<'_>) -> Result<(), Failure> {
        let mut who = name_of(&message.role);
        for more in [&message.name, &message.agent].into_iter().flatten() {
            who.push_str(&format!(" {}", escaped(more)));
        }
        let at = message.at.map_or_else(String::new, |at| time(at).split_off(11));
        output.line(format!("  {}  {}", output.styled(Style::Name, who), output.styled(Style::Dim, at)))?;
        for part in &message.parts {
            match &part.body {
                PartBody::Text(content) => self.text(content, output)?,
                PartBody::Thought(content) => self.block("thought", content, output)?,
                PartBody::Refusal(content) => self.block("refusal", content, output)?,
                PartBody::RedactedThought(_) => output.line("    (a thought that only the provider can read)")?,
                PartBody::ToolCall(call) => self.call(call, message.at, output)?,
                PartBody::ToolResult(result) => self.result(result, message.at, output)?,
                PartBody::Media(media) => output.line(format!("    {}", media_on_a_line(media)))?,
                PartBody::Other { kind, json } => self.block(&escaped(kind), json, output)?,
                _ => output.line("    (a part of a newer build)")?,
            }
        }
        match message.step {
            Some(step) if message.role == foldlog::agent::Role::Assistant => self.evals_of(step, output),
            _ => Ok(()),
        }
    }

    fn text(&self, content: &Content, output: &mut Output<'_>) -> Result<(), Failure> {
        self.texts.lines(content).into_iter().try_for_each(|line| output.line(format!("    {line}").trim_end()))
    }

    /// A text under a word that says what it is. One line stands beside the word.
    fn block(&self, what: &str, content: &Content, output: &mut Output<'_>) -> Result<(), Failure> {
        let what = output.styled(Style::Dim, format!("({what})"));
        match &self.texts.lines(content)[..] {
            [] => output.line(format!("    {what}")),
            [line] => output.line(format!("    {what} {line}")),
            lines => {
                output.line(format!("    {what}"))?;
                lines.iter().try_for_each(|line| output.line(format!("      {line}").trim_end()))
            }
        }
    }

    fn call(&mut self, call: &ToolCall, at: Option<Timestamp>, output: &mut Output<'_>) -> Result<(), Failure> {
        let name = output.styled(Style::Name, escaped(&call.name));
        match &self.texts.lines(&call.arguments)[..] {
            [line] => output.line(format!("    → {name} {line}"))?,
            lines => {
                output.line(format!("    → {name}"))?;
                lines.iter().try_for_each(|line| output.line(format!("      {line}").trim_end()))?;
            }
        }
        let answers = self.answers.remove(call.id.as_str()).unwrap_or_default();
        if answers.iter().all(|eval| eval.elapsed_micros.is_none()) {
            self.called.extend(at.map(|at| (call.id.clone(), at)));
        }
        answers.into_iter().try_for_each(|eval| self.eval(eval, output))
    }

    fn result(&mut self, result: &ToolResult, at: Option<Timestamp>, output: &mut Output<'_>) -> Result<(), Failure> {
        let failed = if result.is_error == Some(true) { output.styled(Style::Bad, " failed") } else { String::new() };
        let name = result.name.as_deref().unwrap_or(&result.call_id);
        let took = span(self.called.remove(&result.call_id), at).map_or_else(String::new, |took| format!("  {took}"));
        output.line(format!("    ← {}{failed}{took}", escaped(name)))?;
        for part in &result.parts {
            match part {
                ResultPart::Text(content) | ResultPart::Json(content) => self.text(content, output)?,
                ResultPart::Media(media) => output.line(format!("    {}", media_on_a_line(media)))?,
                ResultPart::Other { kind, json } => self.block(&escaped(kind), json, output)?,
                _ => output.line("    (a part of a newer build)")?,
            }
        }
        Ok(())
    }

    fn eval(&self, eval: &Eval, output: &mut Output<'_>) -> Result<(), Failure> {
        let is_good = matches!(name_of(&eval.status).as_str(), "ok" | "final");
        let status = output.styled(if is_good { Style::Good } else { Style::Bad }, name_of(&eval.status));
        let facts = [
            Some(status),
            eval.elapsed_micros.map(duration),
            eval.exit_code.map(|code| format!("exit code {code}")),
            eval.usage.as_ref().and_then(tokens),
            eval.session.as_deref().map(|session| format!("session {}", escaped(session))),
        ];
        let facts = facts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let name = eval.tool_name.as_deref().map_or_else(|| format!("eval {}", eval.id), |name| escaped(name).into());
        output.line(format!("    {}  {facts}", output.styled(Style::Dim, name)))?;
        if let Some(error) = &eval.error {
            self.failure(error, "    ", output)?;
        }
        // The arguments of a tool call stand at the call, and its result in the tool's message.
        let code = eval.code.as_ref().filter(|_| eval.call_id.is_none()).map(|code| ("code", code));
        let result = eval.result.as_ref().filter(|_| eval.call_id.is_none()).map(|result| ("result", result));
        let outputs = [
            code,
            result,
            eval.stdout.as_ref().map(|text| ("stdout", text)),
            eval.stderr.as_ref().map(|text| ("stderr", text)),
        ];
        let outputs = outputs.into_iter().flatten().filter(|(_, content)| content.as_inline() != Some(""));
        for (what, content) in outputs {
            self.block(what, content, output)?;
        }
        Ok(())
    }

    fn failure(&self, failure: &AgentFailure, indent: &str, output: &mut Output<'_>) -> Result<(), Failure> {
        let kind = output.styled(Style::Bad, escaped(&failure.kind));
        let lines = self.texts.lines(&failure.message).join(" ");
        output.line(format!("{indent}{kind}: {lines}"))
    }
}
