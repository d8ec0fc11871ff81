//! Tokens, cost, and the names of enums.

use std::collections::HashMap;

use foldlog::agent::{AgentView, TurnId, Usage};
use serde::Serialize;

use crate::terminal::{count, escaped};

/// Tokens in and out; `None` if neither is known.
pub(crate) fn tokens(usage: &Usage) -> Option<String> {
    let part = |tokens: Option<u64>, what: &str| tokens.map(|tokens| format!("{} {what}", count(tokens)));
    let parts: Vec<_> = [
        part(usage.input_tokens, "tokens in"),
        part(usage.output_tokens, "out"),
        part(usage.cache_read_tokens.filter(|tokens| *tokens > 0), "from the cache"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The tokens and the cost of all turns of a session. Where a turn says nothing of its tokens, its steps do.
pub(crate) fn used(view: &AgentView) -> (Usage, Option<u64>) {
    let mut of_steps: HashMap<TurnId, Usage> = HashMap::new();
    for step in view.steps.iter() {
        if let (Some(turn), Some(usage)) = (step.turn, step.usage) {
            *of_steps.entry(turn).or_default() += usage;
        }
    }
    let (mut usage, mut millionths) = (Usage::default(), None);
    for turn in view.turns.iter() {
        usage += turn.usage.or_else(|| of_steps.remove(&turn.id)).unwrap_or_default();
        if let Some(cost) = turn.cost_millionths {
            millionths = Some(u64::saturating_add(millionths.unwrap_or_default(), cost));
        }
    }
    (usage, millionths)
}

/// Millionths of a currency as a decimal number.
pub(crate) fn cost(millionths: u64) -> String {
    let digits = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    format!("cost {}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// The name of an enum's value, as JSON has it.
pub(crate) fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => escaped(&name).into_owned(),
        // What is in no list has its name inside: `{"other": "critic"}`.
        Ok(serde_json::Value::Object(other)) => match other.values().next() {
            Some(serde_json::Value::String(name)) => escaped(name).into_owned(),
            _ => "other".to_owned(),
        },
        _ => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use foldlog::agent::{Role, TurnStatus};

    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_model() {
        assert_eq!([0, 1_200, 1_500_000, 2_000_000].map(cost), ["cost 0", "cost 0.0012", "cost 1.5", "cost 2"]);
        let usage = Usage { input_tokens: Some(1812), output_tokens: Some(64), ..Usage::default() };
        assert_eq!(tokens(&usage).as_deref(), Some("1 812 tokens in, 64 out"));
        assert_eq!(tokens(&Usage::default()), None);
        assert_eq!(name_of(&TurnStatus::BudgetExceeded), "budget_exceeded");
        assert_eq!(name_of(&Role::Other("cri\u{1b}tic".to_owned())), "cri\\u{1b}tic");
    }
}
