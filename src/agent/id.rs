//! The ids of an agent's messages, turns, steps and evals: four types, so that none is taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The largest entity id: what a JSON number holds exactly (2^53 - 1).
pub(crate) const ID_MAX: u64 = (1 << 53) - 1;

macro_rules! entity_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(u64);

        impl $name {
            /// Takes an id as a number; 0 stands for one that is not stamped yet.
            #[must_use]
            pub const fn new(id: u64) -> Self {
                Self(id)
            }

            /// The id as a number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

entity_id! {
    /// The id of a [`Message`](crate::agent::Message) within its session, from 1.
    MessageId
}
entity_id! {
    /// The id of a [`Turn`](crate::agent::Turn) within its session, from 1.
    TurnId
}
entity_id! {
    /// The id of a [`Step`](crate::agent::Step) within its session, from 1.
    StepId
}
entity_id! {
    /// The id of an [`Eval`](crate::agent::Eval) within its session, from 1.
    EvalId
}
