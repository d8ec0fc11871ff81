//! Appending what is made of the view, where that is the view at the last event.

use std::sync::Arc;

use crate::agent::{Agent, AgentBody, AgentView};
use crate::error::{Error, ErrorKind};
use crate::session::{Append, Appended, Entry};

/// How often a call looks at the session anew, because something was appended meanwhile.
const LOOKS_MAX: usize = 100;

/// A batch of bodies, and whether it is the last.
pub(super) type Batch = (Vec<AgentBody>, bool);

/// Appends batches until the last, each as `next` makes it of the view and of the number of batches before. In the view
/// is everything that was appended: also by a call whose future was dropped, and what was in flight. So what is put is
/// what is there, and a result meets the call that it was made for.
pub(super) async fn append_at_head(
    entry: &Arc<Entry<Agent>>,
    mut next: impl FnMut(&AgentView, usize) -> Result<Batch, Error>,
) -> Result<Appended<Agent>, Error> {
    let (mut looks, mut batches) = (0, 0);
    loop {
        entry.settle().await?;
        let view = Arc::clone(entry).current_view().await?;
        let (batch, is_last) = next(&view, batches)?;
        match entry.append(Append::batch(batch).expect_head(view.head()))?.await {
            Ok(_) if !is_last => batches += 1,
            Err(error) if matches!(error.kind(), ErrorKind::HeadMoved { .. }) && looks < LOOKS_MAX => looks += 1,
            appended => return appended,
        }
    }
}
