//! Goal: a view that was stored is the view that was folded, whatever of it has been looked at. Method: both side by
//! side, through their bytes and through more events; chunks that are damaged behind the back of the digest.

use ::bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::agent::{AppendList, Entities};
use crate::codec;

/// A script of messages and evals, and of turns and steps that are ended, but for a few.
fn script(events: u64) -> Script {
    Script::of((0..events).map(|n| {
        let id = n / 9 + 1;
        let is_ended = id % 150 != 20;
        match n % 9 {
            0 => AgentBody::TurnStarted(Turn::default()),
            1 => AgentBody::StepStarted(Step::default()),
            2 | 3 => AgentBody::EvalAdded(Eval { code: Some(format!("run({n})").into()), ..Eval::default() }),
            4 if is_ended => AgentBody::TurnPut(turn(id, TurnStatus::Final)),
            5 if is_ended => AgentBody::StepPut(step(id, StepStatus::Done)),
            _ => AgentBody::MessageAppended(Message::user(format!("number {n}"))),
        }
    }))
}

fn turn(id: u64, status: TurnStatus) -> Turn {
    Turn { id: TurnId::new(id), status, ..Turn::default() }
}

fn step(id: u64, status: StepStatus) -> Step {
    Step { id: StepId::new(id), status, ..Step::default() }
}

fn said(step: Option<StepId>) -> Message {
    let usage = Usage { output_tokens: Some(7), ..Usage::default() };
    let origin = MessageOrigin { usage: Some(usage), ..MessageOrigin::default() };
    Message { step, ..Message::assistant("so far").with_origin(origin) }
}

fn bytes_of(view: &AgentView) -> Bytes {
    Agent::encode_view(view).unwrap().into()
}

fn loaded(bytes: &Bytes) -> AgentView {
    Agent::decode_view(bytes.clone()).unwrap()
}

/// How many chunks are decoded, and how many are not.
fn decoded<T>(list: &AppendList<T>) -> (usize, usize) {
    let waiting = list.waiting();
    (list.chunks().count() - waiting, waiting)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_loaded_view_is_the_folded_one_whatever_was_looked_at(
        (before, after) in (0_u64..1500, 0_u64..300),
        touched in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let all = script(before + after);
        let mut folded = script(before).view;
        // Any number of messages may wait, and of the steps that run some have told more than others.
        for index in touched.iter().filter(|_| before > 0) {
            for id in 0..index.index(200) as u64 {
                folded.apply(time(EventId::new(1)), AgentBody::TurnQueued { message: MessageId::new(id) });
            }
            let step = folded.unfinished().len().checked_sub(1).map(|_| StepId::new(20));
            folded.apply(time(EventId::new(1)), AgentBody::MessageAppended(said(step)));
        }
        let bytes = bytes_of(&folded);
        let (untouched, mut part, whole) = (loaded(&bytes), loaded(&bytes), loaded(&bytes));
        for index in touched.iter().filter(|_| !folded.messages.is_empty()) {
            let place = index.index(folded.messages.len());
            prop_assert_eq!(&part.messages[place], &folded.messages[place]);
            let id = folded.messages[place].id;
            prop_assert_eq!(part.message(id), folded.message(id));
            // Also one that is not there, and the next one.
            let id = index.index(folded.turns.len() + 2) as u64;
            prop_assert_eq!(part.turns.get(TurnId::new(id)), folded.turns.get(TurnId::new(id)));
            prop_assert_eq!(part.steps.get(StepId::new(id)), folded.steps.get(StepId::new(id)));
        }
        prop_assert_eq!(untouched.unfinished(), folded.unfinished());
        prop_assert_eq!(progress(&untouched, EventId::ZERO), progress(&folded, EventId::ZERO));
        prop_assert_eq!(format!("{whole:?}"), format!("{folded:?}"));
        for view in [&untouched, &part, &whole] {
            prop_assert_eq!(&bytes_of(view), &bytes);
        }
        prop_assert!(untouched == part && part == whole && whole == untouched);
        prop_assert_eq!(&untouched, &folded);
        // Neither is decoded when they are compared.
        let left = untouched.messages.waiting() + untouched.steps.stored().waiting();
        let first = loaded(&bytes);
        prop_assert_eq!(left, first.messages.waiting() + first.steps.stored().waiting());
        // It goes on like any view, and so does the one that it was cloned from.
        let mut other = part.clone();
        for event in &all.events[usize::try_from(before).unwrap()..] {
            for view in [&mut folded, &mut part] {
                Agent::apply(view, event);
            }
            other.apply(event.at(), AgentBody::MessageAppended(Message::user("another")));
        }
        // Entities of any age are put again, ended or running, and some whose ids were never given.
        for index in &touched {
            let id = index.index(folded.turns.len() + 4) as u64 * 2 / 3 + 1;
            let id = if id.is_multiple_of(7) { id << 20 } else { id };
            for view in [&mut folded, &mut part] {
                let body = match id % 4 {
                    0 => AgentBody::TurnPut(turn(id, TurnStatus::Running)),
                    1 => AgentBody::TurnPut(turn(id, TurnStatus::Timeout)),
                    2 => AgentBody::StepPut(step(id, StepStatus::Running)),
                    _ => AgentBody::StepPut(step(id, StepStatus::Error)),
                };
                view.apply(time(EventId::new(1)), body);
            }
        }
        prop_assert_eq!(&part, &folded);
        prop_assert_eq!(part.unfinished(), folded.unfinished());
        prop_assert_eq!(loaded(&bytes_of(&part)).unfinished(), folded.unfinished());
        for turn in folded.turns.iter() {
            prop_assert_eq!(part.turns.get(turn.id), Some(turn));
        }
        prop_assert_eq!(format!("{:?}", part.steps), format!("{:?}", folded.steps));
        prop_assert_eq!(bytes_of(&part), bytes_of(&folded));
        prop_assert_eq!(&loaded(&bytes_of(&part)), &folded);
        prop_assert_eq!(other == folded, after == 0 && touched.is_empty());
        prop_assert_eq!(bytes_of(&untouched), bytes);
    }
}

#[test]
fn what_a_recovery_and_the_next_snapshot_ask_decodes_nothing() {
    let mut folded = script(7000).view;
    let mut view = loaded(&bytes_of(&folded));
    // The first chunk and the last one, which is not full.
    assert_eq!(decoded(&view.messages), (2, 35));
    assert_eq!(decoded(&view.evals), (2, 23));
    // Those, and the chunks of what is not ended.
    let entities = |view: &AgentView| (decoded(view.turns.stored()), decoded(view.steps.stored()));
    assert_eq!(entities(&view), ((6, 7), (6, 7)));
    assert_eq!(view.unfinished().len(), 12);
    assert_eq!(
        (progress(&view, EventId::ZERO), view.unfinished()),
        (progress(&folded, EventId::ZERO), folded.unfinished())
    );
    assert_eq!(view.turns_taken(), folded.turns_taken());
    assert_eq!(Agent::counters(&view), folded.counters);
    for (id, body) in (7001..).zip(full_bodies()) {
        let id = EventId::new(id);
        for view in [&mut view, &mut folded] {
            view.apply(time(id), body.clone());
        }
    }
    let bytes = bytes_of(&view);
    assert_eq!(loaded(&bytes), view);
    assert_eq!((decoded(&view.messages), decoded(&view.evals)), ((2, 35), (2, 23)));
    assert_eq!(entities(&view), ((6, 7), (6, 7)));
    // A search looks at one chunk for each time that the list can be halved.
    let id = view.messages.last().unwrap().id;
    assert_eq!(view.message(id), folded.message(id));
    assert!(decoded(&view.messages).0 <= 2 + 6, "{:?}", decoded(&view.messages));
    assert_eq!(bytes, bytes_of(&folded));
}

/// Of `script(1000)`, at view schema 4.
const LONG_VIEW_4: &str = "d0163cf5891872fd47788f1d2b71ca5925512ba4860c9f5d6cf54787b51fb683";

#[test]
fn the_bytes_of_a_long_view_are_those_of_its_schema() {
    let found = codec::digest(&bytes_of(&script(1000).view)).to_string();
    assert_eq!(
        (Agent::VIEW_SCHEMA, &*found),
        (4, LONG_VIEW_4),
        "the bytes of a view changed: raise VIEW_SCHEMA, and put its number and the left digest here"
    );
}

#[test]
fn entities_whose_ids_or_unfinished_ones_do_not_fit_are_refused() {
    let list: AppendList<Turn> =
        (1..=100).map(|id| turn(id, if id == 7 { TurnStatus::Running } else { TurnStatus::Final }).into()).collect();
    let of = |runs: &[(u64, u64)], unfinished: &[u64]| {
        Entities::<TurnId, _>::of(list.clone(), runs, unfinished, Turn::is_running)
    };
    assert_eq!(of(&[(1, 100)], &[6]).unwrap().get(TurnId::new(100)).unwrap().id, TurnId::new(100));
    for runs in [&[(1, 99)][..], &[(1, 101)], &[(1, 100), (500, 0)], &[(1, u64::MAX), (2, 100)], &[]] {
        assert!(of(runs, &[6]).is_none(), "{runs:?}");
    }
    for unfinished in [&[5][..], &[6, 7], &[100], &[u64::MAX]] {
        assert!(of(&[(1, 100)], unfinished).is_none(), "{unfinished:?}");
    }
}

/// Where the messages from 65 on begin: with their number, and the first one's id.
fn second_chunk(bytes: &Bytes) -> usize {
    bytes.windows(2).position(|window| window == [64, 65]).unwrap()
}

#[test]
fn an_item_that_does_not_decode_says_so_and_the_list_stays_as_long_as_it_was() {
    let folded = script(1000).view;
    let bytes = bytes_of(&folded);
    let mut damaged = bytes.to_vec();
    // The role of the first message: there is no such one.
    damaged[second_chunk(&bytes) + 3] = 77;
    let view = loaded(&damaged.into());
    assert_eq!(view.messages.len(), folded.messages.len());
    for (place, (found, was)) in view.messages.iter().zip(&folded.messages).enumerate() {
        match place {
            64..128 => assert_eq!(found.role, Role::Other("foldlog.unreadable".to_owned()), "{place}"),
            _ => assert_eq!(found, was, "{place}"),
        }
    }
    // It is not what was folded, and does not become so when it is stored again.
    assert_ne!(view, folded);
    assert_ne!(bytes_of(&view), bytes);
    assert_eq!(view.evals, folded.evals);
}

#[test]
fn a_view_whose_chunks_are_not_as_long_as_they_should_be_is_refused() {
    let bytes = bytes_of(&script(1000).view);
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = bytes.to_vec();
        change(&mut damaged);
        Agent::decode_view(damaged.into()).unwrap_err()
    };
    let second = second_chunk(&bytes);
    refused(&|bytes| bytes.push(0));
    refused(&|bytes| bytes.truncate(bytes.len() - 1));
    refused(&|bytes| bytes[second] = 63);
    refused(&|bytes| bytes[0] ^= 1);
    refused(&|bytes| bytes[3] = 255);
    for place in 4..12 {
        assert!(refused(&|bytes| bytes[place] ^= 1).to_string().contains("layout"), "the layout of another build");
    }
    // Behind the layout and the session, which is none: the number of messages, 335 of them.
    assert_eq!(bytes[12..16], [0, 251, 79, 1]);
    for items in [334, 336, 64, 0, u16::MAX] {
        refused(&|bytes| bytes[14..16].copy_from_slice(&u16::to_le_bytes(items)));
    }
    // 128 in two full chunks, which would go well with any other number.
    let full = Script::of((0..128).map(|_| AgentBody::MessageAppended(Message::user("hello"))));
    let mut bytes = bytes_of(&full.view).to_vec();
    assert_eq!(bytes[13..15], [128, 2]);
    for items in [0, 64, 127, 129, 192] {
        bytes[13] = items;
        assert!(Agent::decode_view(bytes.clone().into()).is_err(), "{items}");
    }
    // And a third one that has no items: an equal view would have other bytes.
    (bytes[13], bytes[14]) = (128, 3);
    bytes[0] += 1;
    assert_eq!((bytes[15], bytes[18]), (251, 251));
    bytes.insert(21, 1);
    bytes.push(0);
    assert!(Agent::decode_view(bytes.into()).is_err());
}
