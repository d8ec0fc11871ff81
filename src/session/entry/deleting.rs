//! How a session that is open here is deleted: its log first, and then everyone who has to do with it is told.

use std::sync::Arc;

use super::Entry;
use crate::error::{Error, ErrorKind};
use crate::model::SessionModel;
use crate::session::live::Subscriber;
use crate::session::state::Ended;
use crate::threads::{guarded, lock};

impl<M: SessionModel> Entry<M> {
    pub(crate) async fn delete(self: Arc<Self>) -> Result<(), Error> {
        self.services.check_open()?;
        let entry = Arc::clone(&self);
        self.services.delete(&self.id, self.log.key, None, move || entry.end_deleted()).await
    }

    /// Tells everyone who has to do with the session that its log was deleted.
    pub(crate) fn end_deleted(&self) {
        let ended = lock(&self.state).end_deleted();
        if let Some(subscribers) = ended {
            self.tell_deleted(&subscribers);
        }
    }

    /// Ends what hangs on a session that was deleted. Without the session's lock: subscribers may run the host's code.
    pub(in crate::session) fn tell_deleted(&self, subscribers: &[Arc<Subscriber<M>>]) {
        self.mark_closed(Ended::Deleted);
        self.services.turns.end_with(&self.id, self.log.key);
        // Its fields are the host's, so its drop may panic. Then it is logged, and the view is gone all the same.
        let _ = guarded("drop of a view", || drop(self.published().empty()));
        for subscriber in subscribers {
            subscriber.fail(ErrorKind::SessionDeleted { session: self.id.clone() }.into());
        }
    }
}
