//! What a turn shows to subscribers while it is written: text and output, which nobody stores.

use std::sync::{Mutex, PoisonError};

use super::RunningTurn;
use crate::agent::{AgentTransient, OutputStream, StepId};
use crate::error::{Error, ErrorKind};
use crate::session::Task;

/// How much text of one kind waits while the session is busy.
const HELD_BACK_BYTES_MAX: usize = 64 * 1024;

/// What could not be shown yet, since the session was busy. It goes ahead of what is shown next.
#[derive(Debug, Default)]
pub(super) struct HeldBack(Mutex<Vec<HeldText>>);

/// Text of one kind: of the language model, if it is of no stream.
#[derive(Debug)]
struct HeldText {
    step: StepId,
    stream: Option<OutputStream>,
    text: String,
}

impl RunningTurn {
    /// Shows subscribers text that the language model has just produced. Without a step, step 0 is named.
    ///
    /// While as many appends and transients of the session are in flight as its limit allows, the text waits and is
    /// shown with the next that is given, so a burst of deltas fails no turn and loses nothing. What waits when the
    /// step ends is dropped: the message has it.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] once 64 KiB wait so: this text is left out. [`ErrorKind::TurnNotHeld`]. Those of
    /// [`Session::notify`](crate::Session::notify).
    pub fn delta(&self, text: impl Into<String>) -> Result<(), Error> {
        self.show(None, text.into())
    }

    /// Shows subscribers what code or a tool has just written. Without a step, step 0 is named. It waits while the
    /// session is busy, as [`delta`](Self::delta) does.
    ///
    /// # Errors
    /// Those of [`delta`](Self::delta).
    pub fn output(&self, stream: OutputStream, text: impl Into<String>) -> Result<(), Error> {
        self.show(Some(stream), text.into())
    }

    fn show(&self, stream: Option<OutputStream>, text: String) -> Result<(), Error> {
        self.check_held()?;
        let (turn, step) = (self.id, self.step.unwrap_or_default());
        let entry = self.session.entry();
        // Held until the transient is handed over, so that tools which write at once change no order.
        let mut held_back = self.held_back.0.lock().unwrap_or_else(PoisonError::into_inner);
        held_back.retain(|shown| shown.step == step);
        let place = held_back.iter().position(|shown| shown.stream == stream);
        match entry.transient_permit() {
            Ok(permit) => {
                let text = place.map(|place| held_back.swap_remove(place).text + &text).unwrap_or(text);
                let transient = match stream {
                    None => AgentTransient::TokenDelta { turn, step, text },
                    Some(stream) => AgentTransient::OutputChunk { turn, step, stream, text },
                };
                entry.services.check_open()?;
                entry.tell(Task::Transient(transient, permit))
            }
            Err(busy) if matches!(busy.kind(), ErrorKind::Busy { .. }) => {
                let shown = place.and_then(|place| held_back.get_mut(place));
                let waiting = shown.as_ref().map_or(0, |shown| shown.text.len());
                match shown {
                    _ if waiting + text.len() > HELD_BACK_BYTES_MAX => return Err(busy),
                    Some(shown) => shown.text += &text,
                    None => held_back.push(HeldText { step, stream, text }),
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
