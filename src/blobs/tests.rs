//! Goal: in whatever order the steps of a put, an append and a sweep of several stores come, no committed event names a
//! blob that is not there, and no blob that was put is gone within its grace time. Method: each runs on a thread of its
//! own and stops at each step; every order of the steps is tried, on a directory every order with few changes of turn.
//! With each protection left out, an order is found that loses something.

mod orders;
mod peers;
mod turns;
