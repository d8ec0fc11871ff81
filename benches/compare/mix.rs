//! A long session as an agent leaves it, in turns of 23 events: the user's message, the start of the turn, four times
//! (the start of the step, the assistant's message, an eval, the tool's message, a put of the step), a put of the turn.
//! That is 9 messages, 4 evals, 5 starts, and 5 puts that replace a turn or a step.

use foldlog::agent::{AgentBody, Eval, Message, MessageId, Step, StepId, StepStatus, Turn, TurnId, TurnStatus, Usage};
use foldlog::{Content, Timestamp};

use crate::common;

const TURN_EVENTS: u64 = 23;
const STEP_EVENTS: u64 = 5;
const STEPS: u64 = 4;

/// The event with a number, from 0, of one endless session.
pub(crate) fn body(number: u64) -> AgentBody {
    let turn_number = number / TURN_EVENTS;
    let turn = TurnId::new(turn_number + 1);
    let (step_place, place) = match number % TURN_EVENTS {
        0 => return AgentBody::MessageAppended(Message::user(common::text(number))),
        1 => return AgentBody::TurnStarted(Turn::for_message(MessageId::new(turn_number * 9 + 1))),
        22 => return AgentBody::TurnPut(ended_turn(turn, number)),
        within => ((within - 2) / STEP_EVENTS, (within - 2) % STEP_EVENTS),
    };
    let step = StepId::new(turn_number * STEPS + step_place + 1);
    let call = format!("call_{number}");
    match place {
        0 => AgentBody::StepStarted(Step::of_turn(turn)),
        1 => AgentBody::MessageAppended(Message {
            turn: Some(turn),
            step: Some(step),
            ..Message::assistant(common::text(number))
        }),
        2 => AgentBody::EvalAdded(Eval {
            turn: Some(turn),
            step: Some(step),
            tool_name: Some("bash".to_owned()),
            call_id: Some(call),
            code: Some(Content::from("ls -la")),
            result: Some(Content::from(common::text(number))),
            elapsed_micros: Some(1_200),
            ..Eval::default()
        }),
        3 => AgentBody::MessageAppended(Message {
            turn: Some(turn),
            step: Some(step),
            ..Message::tool_result(call, common::text(number))
        }),
        _ => AgentBody::StepPut(Step {
            id: step,
            status: StepStatus::Done,
            started: time(number),
            ended: time(number),
            response_summary: Some(Content::from(r#"{"finish_reason":"tool_calls"}"#)),
            assistant_message: Some(MessageId::new(turn_number * 9 + step_place * 2 + 2)),
            usage: usage(number),
            ..Step::of_turn(turn)
        }),
    }
}

fn ended_turn(turn: TurnId, number: u64) -> Turn {
    Turn {
        id: turn,
        status: TurnStatus::Final,
        started: time(number),
        ended: time(number),
        user_message: Some(MessageId::new((turn.get() - 1) * 9 + 1)),
        final_value: Some(Content::from(common::text(number))),
        usage: usage(number),
        cost_millionths: Some(number),
        ..Turn::default()
    }
}

fn usage(number: u64) -> Option<Usage> {
    Some(Usage { input_tokens: Some(3_000 + number), output_tokens: Some(200), ..Usage::default() })
}

fn time(number: u64) -> Option<Timestamp> {
    Some(Timestamp::from_micros(1_735_689_600_000_000 + number as i64 * 1_000))
}
