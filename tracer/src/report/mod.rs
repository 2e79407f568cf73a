//! Tables over a profile, in the manner of pprof's `top`, `tree` and `peek`.
