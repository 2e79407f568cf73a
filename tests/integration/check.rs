//! `tracer check`: what it finds, what it does not, and above all how it ends.

mod action;
mod blame;
mod formats;
mod live;
mod rebuild;
mod saved;
mod series;
mod windows;

use libtest_mimic::Trial;
use tests::trial;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::plain("check::a_leak_is_1", saved::a_leak_is_1),
        trial::plain("check::nothing_found_is_0", saved::nothing_found_is_0),
        trial::plain("check::too_little_is_3", saved::too_little_is_3),
        trial::plain("check::could_not_is_2", saved::could_not_is_2),
        trial::plain("check::policy_and_flags", saved::policy_and_flags),
        trial::plain("check::baseline", saved::baseline),
        trial::plain("check::suppressions", saved::suppressions),
        trial::plain("check::blame", blame::blame),
        trial::plain("check::blame_without_git", blame::without_git),
        trial::plain("check::reports_together", formats::together),
        trial::plain("check::junit_is_valid", formats::junit_is_valid),
        trial::plain("check::sarif_is_valid", formats::sarif_is_valid),
        trial::plain("check::annotations", formats::annotations),
        trial::plain("check::action_is_valid", action::is_valid),
        trial::heavy("check::inconclusive", live::inconclusive),
        trial::heavy("check::commands", live::commands),
        trial::heavy("check::twins_in_windows", windows::twins),
        trial::heavy("check::folder", live::folder),
        trial::root("check::baseline_of_another_build_c", || {
            rebuild::baseline(&rebuild::C)
        }),
        trial::root("check::baseline_of_another_build_rust", || {
            rebuild::baseline(&rebuild::RUST)
        }),
    ];
    // Verdicts of half a minute on a machine that does other things meanwhile are not sure enough for
    // every test run: `./x gallery` takes them with the rest of the gallery.
    if std::env::var_os("TRACER_GALLERY").is_some() {
        trials.extend([
            trial::heavy("check::gallery", live::gallery),
            trial::heavy("check::patched_service", live::patched_service),
            trial::heavy("check::gallery_in_windows", windows::gallery),
        ]);
    }
    trials
}
