//! Tests of names: a corpus of real ones, what holds for all, and those of one profile.

mod corpus;
mod properties;
mod sets;
