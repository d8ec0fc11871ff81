//! Goal: restarts lose nothing and leave nobody without an answer. Method: restarts of every actor while work is in flight.

use foldlog::agent::{AgentBody, Step, StepId, Turn, TurnId, TurnStatus};
use foldlog::{Restart, Store, StoreConfig, SubscribeFrom, Unfinished};

use crate::support::{ProbeBody, all_events, append, look, on_both, open, usable, within};
use crate::{answers, assert_answers_agree, live_ids, numbers};

on_both! {
    restarts_during_recovery_and_in_a_row_answer_everyone_by_the_log,
    restarts_of_every_actor_with_work_in_flight_lose_nothing,
    what_was_left_running_is_reported,
}

async fn restarts_during_recovery_and_in_a_row_answer_everyone_by_the_log(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let address = session.address().unwrap();
    let mut receipts = Vec::new();
    for n in 0..200 {
        receipts.push((n, session.append(ProbeBody::Added(n)).unwrap()));
        if n % 10 == 9 {
            // The second and third find the recovery from the first under way.
            let restarts = (0..3).map(|_| address.send(Restart));
            for sent in within(futures::future::join_all(restarts)).await {
                sent.unwrap();
            }
        }
    }
    let answers = answers(receipts).await;
    within(session.recovery()).await.unwrap();
    let events = all_events(&session).await;
    assert_answers_agree(&answers, &numbers(&events));
    assert_eq!(session.view().unwrap().head().get(), events.len() as u64);
    assert_eq!(look(&store, "s").await.0, *session.view().unwrap());
    // Alone, and with nothing to do.
    for _ in 0..50 {
        within(address.send(Restart)).await.unwrap();
    }
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn restarts_of_every_actor_with_work_in_flight_lose_nothing(config: StoreConfig) {
    let store = open(&config).await;
    let session = within(store.open_session("s")).await.unwrap();
    let stream = within(session.subscribe(SubscribeFrom::Now)).await.unwrap();
    let mut receipts = Vec::new();
    let mut puts = Vec::new();
    for n in 0..100_u64 {
        receipts.push((n, session.append(ProbeBody::Added(n)).unwrap()));
        let store_of_put = store.clone();
        puts.push(actix::spawn(async move { store_of_put.put_bytes(n.to_le_bytes().to_vec()).await }));
        match n % 9 {
            2 => within(store.persist_address().send(Restart)).await.unwrap(),
            5 => within(store.blob_address().send(Restart)).await.unwrap(),
            8 => within(session.address().unwrap().send(Restart)).await.unwrap(),
            _ => {}
        }
    }
    let answers = answers(receipts).await;
    for put in puts {
        let blob = within(put).await.unwrap().unwrap();
        assert_eq!(within(store.get_bytes(blob.digest)).await.unwrap().len(), 8);
    }
    within(session.recovery()).await.unwrap();
    let events = all_events(&session).await;
    assert_answers_agree(&answers, &numbers(&events));
    let live = live_ids(stream, events.len()).await;
    assert_eq!(live, (1..=events.len() as u64).collect::<Vec<_>>(), "subscribers saw each event once");
    usable(&store, "s").await;
    within(store.close()).await.unwrap();
}

async fn what_was_left_running_is_reported(config: StoreConfig) {
    let store = within(Store::open(config.clone())).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    let ended = Turn { status: TurnStatus::Final, ..Turn::default() };
    let bodies = vec![
        AgentBody::TurnStarted(ended),
        AgentBody::TurnStarted(Turn::default()),
        AgentBody::StepStarted(Step::of_turn(TurnId::new(2))),
    ];
    within(session.append_batch(bodies).unwrap()).await.unwrap();
    within(store.close()).await.unwrap();

    let store = within(Store::open(config.clone())).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    let report = within(session.recovery()).await.unwrap();
    assert_eq!(report.events, 3);
    let (turn, step) = (Unfinished { kind: "turn", id: 2 }, Unfinished { kind: "step", id: 1 });
    assert_eq!(report.unfinished, [turn.clone(), step.clone()]);
    assert_eq!(within(store.read_state("s")).await.unwrap().report.unfinished, [turn, step.clone()]);
    let view = session.view().unwrap();
    assert!(view.steps.get(StepId::new(1)).is_some());
    let mended = Turn { status: TurnStatus::Error, ..(**view.turns.get(TurnId::new(2)).unwrap()).clone() };
    append(&session, AgentBody::TurnPut(mended)).await.unwrap();
    within(store.close()).await.unwrap();

    let store = within(Store::open(config)).await.unwrap();
    let session = within(store.open_session("s")).await.unwrap();
    assert_eq!(within(session.recovery()).await.unwrap().unfinished, [step]);
    within(store.close()).await.unwrap();
}
