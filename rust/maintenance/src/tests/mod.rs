//! The change plans against recomputation: `view(now)` equals `view(before)` with the changes, as counted bags.

mod binding;
mod lake;
mod oracle;
mod plans;
mod random_views;
mod refusals;
mod view_shapes;
