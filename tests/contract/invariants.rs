//! Goal: each invariant of docs/invariants.md, I1 to I12, holds from outside; the names of the tests say which. Method:
//! hold the database's lock as another process would, restart actors, fold random sessions. tests/kills/ has I1.

mod crash;
mod live;
mod log;
