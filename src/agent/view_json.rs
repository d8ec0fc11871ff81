//! The form of a view in JSON: its public fields. Nothing is copied but references, whatever the length of the view.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::agent::view::AgentView;

impl Serialize for AgentView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Taken apart without `..`, so that a new field must be considered here.
        let Self {
            session,
            messages,
            turns,
            steps,
            evals,
            counters,
            vars,
            compact_from,
            error,
            open_calls,
            instructions: _,
            summary: _,
            summaries: _,
            unanswered,
            running_steps: _,
        } = self;
        let mut view = serializer.serialize_struct("AgentView", 11)?;
        view.serialize_field("session", &session.as_deref())?;
        view.serialize_field("messages", messages)?;
        view.serialize_field("turns", turns)?;
        view.serialize_field("steps", steps)?;
        view.serialize_field("evals", evals)?;
        view.serialize_field("counters", counters)?;
        view.serialize_field("vars", &vars.as_deref())?;
        view.serialize_field("compact_from", compact_from)?;
        view.serialize_field("error", &error.as_deref())?;
        view.serialize_field("open_calls", &open_calls.iter().collect::<Vec<_>>())?;
        view.serialize_field("unanswered", &unanswered.iter().collect::<Vec<_>>())?;
        view.end()
    }
}
