//! An error as the status of an HTTP response.

use super::{Error, ErrorKind};

impl Error {
    /// The status of an HTTP response that tells this error to a client: 400 to 499 where the client can do something
    /// about it, 500 to 599 where only the server can. The number alone, for any web framework.
    ///
    /// | status | kinds |
    /// |---|---|
    /// | 400 | [`InvalidSessionId`](ErrorKind::InvalidSessionId), [`InvalidDigest`](ErrorKind::InvalidDigest), [`InvalidJson`](ErrorKind::InvalidJson), [`InvalidArgument`](ErrorKind::InvalidArgument) |
    /// | 404 | [`UnknownSession`](ErrorKind::UnknownSession), [`UnknownBlob`](ErrorKind::UnknownBlob) |
    /// | 409 | [`RefusedByView`](ErrorKind::RefusedByView), [`DanglingRef`](ErrorKind::DanglingRef), [`OwnedElsewhere`](ErrorKind::OwnedElsewhere), [`TurnInFlight`](ErrorKind::TurnInFlight), [`SessionStopped`](ErrorKind::SessionStopped), [`TurnLimit`](ErrorKind::TurnLimit), [`TurnNotHeld`](ErrorKind::TurnNotHeld) |
    /// | 410 | [`OtherHistory`](ErrorKind::OtherHistory), [`OtherFeed`](ErrorKind::OtherFeed), [`SessionDeleted`](ErrorKind::SessionDeleted) |
    /// | 412 | [`HeadMoved`](ErrorKind::HeadMoved), [`CursorMoved`](ErrorKind::CursorMoved) |
    /// | 413 | [`TooLarge`](ErrorKind::TooLarge) |
    /// | 416 | [`BeyondHead`](ErrorKind::BeyondHead) |
    /// | 422 | [`BodyRefused`](ErrorKind::BodyRefused), [`WrongBlobLength`](ErrorKind::WrongBlobLength), [`KeyReused`](ErrorKind::KeyReused) |
    /// | 503 | [`NotWritten`](ErrorKind::NotWritten), [`Busy`](ErrorKind::Busy), [`Unavailable`](ErrorKind::Unavailable), [`OutcomeUnknown`](ErrorKind::OutcomeUnknown), [`StoreClosed`](ErrorKind::StoreClosed), [`SessionClosed`](ErrorKind::SessionClosed), [`MustReopen`](ErrorKind::MustReopen) |
    /// | 507 | [`DiskFull`](ErrorKind::DiskFull) |
    /// | 500 | all others |
    ///
    /// With 503 and 507 belongs a `Retry-After`: what the client sent may be right in a moment.
    ///
    /// # Examples
    /// ```
    /// let error = foldlog::SessionId::new("").unwrap_err();
    /// assert_eq!(error.http_status(), 400);
    /// let may_pass = matches!(error.http_status(), 503 | 507); // then Retry-After: 1
    /// # assert!(!may_pass);
    /// ```
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.kind().http_status()
    }
}

impl ErrorKind {
    /// No arm is a default: a new kind must decide.
    fn http_status(&self) -> u16 {
        match self {
            Self::InvalidSessionId { .. }
            | Self::InvalidDigest { .. }
            | Self::InvalidJson { .. }
            | Self::InvalidArgument { .. } => 400,
            Self::UnknownSession { .. } | Self::UnknownBlob { .. } => 404,
            Self::RefusedByView { .. }
            | Self::DanglingRef { .. }
            | Self::OwnedElsewhere { .. }
            | Self::TurnInFlight { .. }
            | Self::SessionStopped { .. }
            | Self::TurnLimit { .. }
            | Self::TurnNotHeld { .. } => 409,
            Self::OtherHistory { .. } | Self::OtherFeed { .. } | Self::SessionDeleted { .. } => 410,
            Self::HeadMoved { .. } | Self::CursorMoved { .. } => 412,
            Self::TooLarge { .. } => 413,
            Self::BeyondHead { .. } => 416,
            Self::BodyRefused { .. } | Self::WrongBlobLength { .. } | Self::KeyReused { .. } => 422,
            Self::NotWritten { .. }
            | Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::OutcomeUnknown { .. }
            | Self::StoreClosed
            | Self::SessionClosed { .. }
            | Self::MustReopen { .. } => 503,
            Self::DiskFull => 507,
            Self::NewerRecord { .. }
            | Self::Unfoldable { .. }
            | Self::Undecodable { .. }
            | Self::NewerFormat { .. }
            | Self::OlderFormat { .. }
            | Self::WrongModel { .. }
            | Self::NoStore { .. }
            | Self::NotAStore { .. }
            | Self::UnsuitablePlace { .. }
            | Self::Forked
            | Self::Io { .. }
            | Self::CorruptEvent { .. }
            | Self::CorruptBlob { .. }
            | Self::CorruptStore { .. } => 500,
        }
    }
}

#[cfg(test)]
mod tests {
    /// Each arm of the match above: its kinds, and the status.
    fn arms() -> Vec<(Vec<&'static str>, &'static str)> {
        let source = include_str!("http.rs");
        let body = source.split("match self {").nth(1).and_then(|rest| rest.split("\n        }\n").next()).unwrap();
        let arms = body.split(',').map(|arm| arm.split_once("=>")).map_while(|arm| arm);
        let kind = |pattern: &'static str| pattern.trim().trim_start_matches("Self::").split(' ').next().unwrap();
        arms.map(|(kinds, status)| (kinds.split('|').map(kind).collect(), status.trim())).collect()
    }

    #[test]
    fn the_table_of_the_guide_and_of_the_reference_are_those_of_the_code() {
        let (guide, reference) = (include_str!("../../docs/guide/errors.md"), include_str!("http.rs"));
        let mut count = 0;
        for (kinds, status) in arms() {
            for kind in &kinds {
                let row = guide.lines().find(|line| line.starts_with(&format!("| `{kind}` |")));
                let shown = row.and_then(|row| row.trim_end_matches(" |").rsplit("| ").next()).unwrap_or_default();
                assert!(shown.starts_with(status), "docs/guide/errors.md: {kind} is {status}, and not {shown:?}");
                count += 1;
            }
            let links: Vec<_> = kinds.iter().map(|kind| format!("[`{kind}`](ErrorKind::{kind})")).collect();
            let row = format!("/// | {status} | {} |", links.join(", "));
            assert!(
                status == "500" || reference.contains(&row),
                "the documentation of http_status needs the row:\n{row}"
            );
        }
        assert!(count > 35, "{count} kinds");
    }
}
