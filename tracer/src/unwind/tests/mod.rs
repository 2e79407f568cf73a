//! Tables of small hand-made sections, of programs compiled here, and of hostile input.
