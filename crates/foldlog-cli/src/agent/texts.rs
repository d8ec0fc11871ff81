//! Every text of an event: what a person wrote or read, and the names of things. Left out is what a provider signed or
//! encrypted, and bytes as text.

use foldlog::agent::{
    AgentBody, Eval, Failure, Media, MediaSource, Message, PartBody, ResultPart, SessionInfo, Step, Turn,
};
use foldlog::{Content, Json, OwnBody};

/// Calls `each` with every content and what it is.
pub(crate) fn texts_of(body: &AgentBody, each: &mut dyn FnMut(&'static str, &Content)) {
    let mut texts = Texts(each);
    match body {
        AgentBody::SessionStarted(session) => texts.session(session),
        AgentBody::TurnStarted(turn) | AgentBody::TurnPut(turn) => texts.turn(turn),
        AgentBody::StepStarted(step) | AgentBody::StepPut(step) => texts.step(step),
        AgentBody::MessageAppended(message) => texts.message(message),
        AgentBody::EvalAdded(eval) => texts.eval(eval),
        AgentBody::VarsSnapshotted(vars) => texts.content("vars", vars),
        AgentBody::SessionCompacted { vars, message, .. } => {
            texts.optional("vars", vars.as_ref());
            texts.message(message);
        }
        AgentBody::SessionErrored(failure) => texts.failure(failure),
        AgentBody::Custom { kind, json } => {
            texts.name("kind", kind);
            texts.json("json", json);
        }
        _ => {}
    }
}

/// The texts of an event of foldlog's own.
pub(crate) fn own_texts_of(body: &OwnBody, each: &mut dyn FnMut(&'static str, &Content)) {
    let mut texts = Texts(each);
    match body {
        OwnBody::Described(described) => {
            texts.named("title", described.title.as_ref());
            for (name, value) in &described.labels {
                texts.name("label", name);
                texts.named("label", value.as_ref());
            }
        }
        OwnBody::Redacted(redacted) => texts.name("reason", &redacted.reason),
        _ => {}
    }
}

struct Texts<'a>(&'a mut dyn FnMut(&'static str, &Content));

impl Texts<'_> {
    fn content(&mut self, what: &'static str, content: &Content) {
        (self.0)(what, content);
    }

    fn optional(&mut self, what: &'static str, content: Option<&Content>) {
        content.into_iter().for_each(|content| self.content(what, content));
    }

    fn name(&mut self, what: &'static str, name: &str) {
        self.content(what, &name.into());
    }

    fn named(&mut self, what: &'static str, name: Option<&String>) {
        name.into_iter().for_each(|name| self.name(what, name));
    }

    fn json(&mut self, what: &'static str, json: &Json) {
        if json.as_str() != "{}" {
            self.name(what, json.as_str());
        }
    }

    fn session(&mut self, session: &SessionInfo) {
        let SessionInfo { id, provider, model, parent, labels, instructions, tools, extra, .. } = session;
        for (what, name) in [("id", id), ("provider", provider), ("model", model), ("parent", parent)] {
            self.named(what, name.as_ref());
        }
        for (name, value) in labels {
            self.name("label", name);
            self.name("label", value);
        }
        self.optional("instructions", instructions.as_ref());
        self.optional("tools", tools.as_ref());
        self.json("extra", extra);
    }

    fn turn(&mut self, turn: &Turn) {
        self.optional("final_value", turn.final_value.as_ref());
        self.optional("preview", turn.preview.as_ref());
        turn.error.iter().for_each(|failure| self.failure(failure));
        self.json("extra", &turn.extra);
    }

    fn step(&mut self, step: &Step) {
        self.optional("request", step.request.as_ref());
        self.optional("response_summary", step.response_summary.as_ref());
        step.error.iter().for_each(|failure| self.failure(failure));
        self.json("extra", &step.extra);
    }

    fn message(&mut self, message: &Message) {
        self.named("name", message.name.as_ref());
        self.named("agent", message.agent.as_ref());
        for part in &message.parts {
            match &part.body {
                PartBody::Text(content) => self.content("text", content),
                PartBody::Thought(content) => self.content("thought", content),
                PartBody::Refusal(content) => self.content("refusal", content),
                PartBody::ToolCall(call) => {
                    self.name("tool_call", &call.name);
                    self.content("tool_call", &call.arguments);
                }
                PartBody::ToolResult(result) => {
                    for part in &result.parts {
                        match part {
                            ResultPart::Text(content) | ResultPart::Json(content) => {
                                self.content("tool_result", content)
                            }
                            ResultPart::Media(media) => self.media(media),
                            ResultPart::Other { json, .. } => self.content("tool_result", json),
                            _ => {}
                        }
                    }
                }
                PartBody::Media(media) => self.media(media),
                PartBody::Other { json, .. } => self.content("other", json),
                _ => {}
            }
        }
        self.json("extra", &message.extra);
    }

    fn media(&mut self, media: &Media) {
        self.named("media", media.name.as_ref());
        if let MediaSource::Url(url) = &media.source {
            self.content("media", url);
        }
    }

    fn eval(&mut self, eval: &Eval) {
        self.named("tool_name", eval.tool_name.as_ref());
        let Eval { code, result, preview, stdout, stderr, .. } = eval;
        let contents =
            [("code", code), ("result", result), ("preview", preview), ("stdout", stdout), ("stderr", stderr)];
        for (what, content) in contents {
            self.optional(what, content.as_ref());
        }
        self.named("session", eval.session.as_ref());
        eval.error.iter().for_each(|failure| self.failure(failure));
        self.json("extra", &eval.extra);
    }

    fn failure(&mut self, failure: &Failure) {
        self.name("error", &failure.kind);
        self.content("error", &failure.message);
        self.json("extra", &failure.extra);
    }
}
