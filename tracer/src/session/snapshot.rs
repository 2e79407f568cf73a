//! From the kernel's amounts and stacks to a profile with names.

mod ends;
mod estimated;
mod mappings;
mod replaced;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracer_common::{Counter, StackEnd, StackKey};

use super::allocator::Found;
use super::amounts::{peak_of, values};
use super::calls::Calls;
use super::frames::Frames;
use super::processes::{Processes, Traced};
use super::retire::Retired;
use super::roots::is_root;
use super::verdict::{Findings, counter_values, verdict};
use crate::address::FileOffset;
use crate::bpf::{Held, KernelPeak, StackAmounts};
use crate::printable::Shown as _;
use crate::process::{FileKey, MappedAddress};
use crate::profile::{
    Function, FunctionIndex, Labels, Line, Location, LocationIndex, MappingIndex, Profile, Sample,
};
use crate::symbolize::{DebugRoots, ModuleId, Symbolizer, Unknown};
pub(super) use ends::Ends;

/// The label with the name of a thread.
const THREAD: &str = "thread";

/// A stack as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// When, `CLOCK_MONOTONIC` in nanoseconds.
    pub(super) time_ns: u64,
    /// Return addresses, leaf first.
    pub(super) frames: Frames,
    /// Why there are no more.
    pub(super) end: StackEnd,
}

/// The stacks that have arrived; nothing any more once they are named for good. There may be a hundred
/// thousand, so that what is left of them is small.
pub(super) type Arrived = HashMap<StackKey, Option<Box<Seen>>>;

/// Identity of a mapping: image and index in its address space.
type MappedKey = (u32, usize);

/// A mapping of the profile and the module behind it.
#[derive(Clone, Copy)]
struct KnownModule {
    mapping: MappingIndex,
    module: ModuleId,
    is_c_library: bool,
}

/// The profile of a recording, brought up to date as often as one is asked for. What has a name keeps
/// it, so that each time costs what is new.
#[derive(Default)]
pub(super) struct Snapshots {
    symbolizer: Symbolizer,
    pub(super) profile: Profile,
    /// Of each sample.
    labels: Labels,
    /// The same with the name of a thread, by its number.
    of_threads: HashMap<u32, Labels>,
    /// Each sample tells its process, even where there is only one.
    label_pids: bool,
    /// By the number of the stack.
    stacks: HashMap<u32, Stack>,
    pub(super) retired: Retired,
    functions: HashMap<Function, FunctionIndex>,
    locations: HashMap<(Option<MappingIndex>, u64), LocationIndex>,
    mappings: HashMap<MappedKey, KnownModule>,
    /// The same by file and offset: processes that run the same program share them.
    files: HashMap<(FileKey, u64), KnownModule>,
    debug_roots: HashMap<u32, Arc<DebugRoots>>,
    calls: Calls,
}

/// A stack of the profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    /// Index of its sample.
    pub(super) sample: u32,
    named: Named,
    /// Frames at its outer end that were none.
    discarded: u32,
    /// How its walk ended.
    walked: StackEnd,
    /// How it ends: [`StackEnd::Root`] where it reaches the beginning of its process or thread.
    end: StackEnd,
}

/// How far the frames of a stack are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// They have not arrived.
    Missing,
    /// Some lie in no mapping, of which the news may still be under way.
    Once,
    Finally,
}

/// What a profile is made of.
pub(super) struct Parts<'a> {
    pub(super) processes: &'a Processes,
    /// The process it is about.
    pub(super) main: u32,
    pub(super) seen: &'a mut Arrived,
    pub(super) amounts: &'a [StackAmounts],
    /// The most that was live at once.
    pub(super) peak: KernelPeak,
    /// When counting began, `CLOCK_MONOTONIC` in nanoseconds, and for how long it has.
    pub(super) counted: (u64, Duration),
    pub(super) counters: &'a [(Counter, u64)],
    pub(super) found: &'a Found,
    pub(super) findings: Findings,
}

impl Snapshots {
    /// Gives each sample these labels, and its process where that is asked for.
    pub(super) fn labelled(labels: Labels, label_pids: bool) -> Self {
        Self {
            labels,
            label_pids,
            ..Self::default()
        }
    }

    /// Samples are labelled with these names of their threads.
    pub(super) fn know_threads(&mut self, names: HashMap<u32, String>) {
        for (thread, name) in names {
            let labels = &self.labels;
            self.of_threads.entry(thread).or_insert_with(|| {
                let own = std::iter::once((THREAD, name.as_str()));
                labels.iter().chain(own).collect()
            });
        }
    }

    /// The profile as it was last.
    pub(super) const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The same, to be described.
    pub(super) const fn profile_mut(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// The same, when there will be no further one.
    pub(super) fn into_profile(mut self) -> Profile {
        // Those that were merged with their like.
        let samples = &mut self.profile.samples;
        samples.retain(|sample| !sample.locations.is_empty());
        self.profile
    }

    /// A stack has left the kernel's tables: its number may be another's from now on.
    pub(super) fn forget(&mut self, index: u32) {
        self.stacks.remove(&index);
    }

    /// Images have ended, and nothing of them is named any more.
    pub(super) fn forget_images(&mut self, images: &HashSet<u32>) {
        self.mappings
            .retain(|(image, _), _| !images.contains(image));
        self.debug_roots.retain(|image, _| !images.contains(image));
    }

    /// The sample of a stack, the same in every profile of the recording.
    pub(super) fn sample_of(&self, stack: u32) -> Option<usize> {
        self.stacks.get(&stack).map(|stack| stack.sample as usize)
    }

    /// Brings the profile up to date. Amounts come in the same order each time, new ones at any place.
    pub(super) fn update(&mut self, parts: Parts<'_>) {
        let Parts {
            processes,
            main,
            seen,
            amounts,
            peak,
            counted,
            counters,
            found,
            mut findings,
        } = parts;
        if self.profile.mappings.is_empty() {
            self.main_binary(processes, main);
        }
        // Exactly: there may be a hundred thousand.
        let samples = &mut self.profile.samples;
        samples.reserve_exact(amounts.len().saturating_sub(samples.len()));
        let tells_pid = self.label_pids || processes.has_several();
        self.retired.keep_peak(&mut self.profile, peak.epoch);
        let (peak, is_now) = peak_of(peak, counted, amounts);
        self.profile.peak = Some(peak);
        for amount in amounts {
            let seen = seen.get_mut(&amount.counters.key);
            let held = if is_now { amount.now } else { amount.at_peak };
            self.sample(processes, amount, held, seen, tells_pid, &mut findings);
        }
        self.cut_replaced(processes, amounts);
        self.count_ends(amounts, &mut findings.ends);
        let retired = self.retired_findings();
        findings.stacks += retired.stacks;
        findings.stacks_without_frames += retired.stacks_without_frames;
        findings.objects_without_frames += retired.objects_without_frames;
        findings.ends += retired.ends;
        findings.frames_discarded += retired.frames_discarded;
        findings.bytes_released_by_exec += retired.bytes_released_by_exec;
        let unknown = |location: &&Location| location.unknown.is_some();
        findings.unknown_locations = self.profile.locations.iter().filter(unknown).count() as u64;
        self.profile.metadata.pids = std::iter::once(main)
            .chain(
                processes
                    .known_pids()
                    .into_iter()
                    .filter(|&pid| pid != main),
            )
            .collect();
        let not_probed = found.not_probed(&self.profile).into_iter();
        findings.allocators_not_probed = not_probed.map(|path| path.shown().to_string()).collect();
        self.profile.counters = counter_values(counters, &findings);
        self.profile.verdict = verdict(counters, &findings);
    }

    /// pprof takes the first mapping for the main binary.
    fn main_binary(&mut self, processes: &Processes, pid: u32) {
        let Some((image, traced)) = processes.latest(pid) else {
            return;
        };
        let main = traced.space.mappings().rfind(|(_, mapped)| {
            mapped
                .file
                .as_ref()
                .is_some_and(|file| traced.is_executable(&file.path))
        });
        if let Some((index, mapped)) = main {
            self.mapping(image, traced, index, mapped);
        }
    }

    /// Brings a stack's sample up to date, and names what it has no name for.
    pub(super) fn sample(
        &mut self,
        processes: &Processes,
        amount: &StackAmounts,
        held: Held,
        seen: Option<&mut Option<Box<Seen>>>,
        tells_pid: bool,
        findings: &mut Findings,
    ) -> Stack {
        let counters = &amount.counters;
        let mut values = values(counters, held);
        let traced = processes.get(counters.key.image);
        if processes.is_gone(&counters.key) {
            findings.bytes_released_by_exec += values.inuse_space.unsigned_abs();
            values.inuse_objects = 0;
            values.inuse_space = 0;
        }
        let stack = match self.stacks.get(&amount.index) {
            Some(&stack) if stack.named == Named::Finally => stack,
            known => {
                let known = known.copied();
                let stack = self.name(known, &counters.key, traced.zip(seen));
                self.stacks.insert(amount.index, stack);
                stack
            }
        };
        findings.stacks += 1;
        findings.frames_discarded += u64::from(stack.discarded);
        if stack.named == Named::Missing && counters.key.stack != 0 {
            findings.stacks_without_frames += 1;
            findings.objects_without_frames += counters.alloc_objects;
        }
        let sample = &mut self.profile.samples[stack.sample as usize];
        sample.values = values;
        sample.pid = traced.filter(|_| tells_pid).map(|traced| traced.pid);
        stack
    }

    /// Names a stack, and makes its sample where it has none.
    fn name(
        &mut self,
        known: Option<Stack>,
        key: &StackKey,
        seen: Option<(&Traced, &mut Option<Box<Seen>>)>,
    ) -> Stack {
        let mut stack = known.unwrap_or_else(|| {
            let sample = self.retired.free.pop().unwrap_or_else(|| {
                self.profile.samples.push(Sample::default());
                // There are no more stacks than numbers of them.
                (self.profile.samples.len() - 1) as u32
            });
            let labels = self.of_threads.get(&key.thread).unwrap_or(&self.labels);
            self.profile.samples[sample as usize].labels = labels.clone();
            Stack {
                sample,
                named: Named::Missing,
                discarded: 0,
                walked: StackEnd::Root,
                end: StackEnd::Root,
            }
        });
        let taken = seen.and_then(|(traced, arrived)| Some((traced, arrived.take()?, arrived)));
        let locations = match taken {
            Some((traced, seen, arrived)) => {
                let locations = self.stack(key.image, traced, &seen, &mut stack);
                if stack.named != Named::Finally {
                    *arrived = Some(seen);
                }
                locations
            }
            None if known.is_some() => return stack,
            None if key.stack == 0 => vec![self.pseudo("[stack unknown]")],
            None => vec![self.pseudo("[stack not received]")],
        };
        self.profile.samples[stack.sample as usize].locations = locations;
        stack
    }

    fn stack(
        &mut self,
        image: u32,
        traced: &Traced,
        seen: &Seen,
        stack: &mut Stack,
    ) -> Vec<LocationIndex> {
        // The call lies before the address it returns to.
        let mut places: Vec<_> = seen
            .frames
            .iter()
            .map(|return_address| return_address.saturating_sub(1))
            .map(|address| (address, traced.space.place(address, seen.time_ns)))
            .collect();
        let all = places.iter().all(|(_, place)| place.is_some());
        stack.named = if all || stack.named == Named::Once {
            Named::Finally
        } else {
            Named::Once
        };
        // Where a function uses the frame pointer's register for something else, the walk takes
        // that for a frame, and ends. The innermost frame is real: the kernel returns to it.
        let mapped = places.iter().rposition(|(_, place)| place.is_some());
        let real = mapped.map_or(1, |last| last + 1);
        stack.discarded = places.len().saturating_sub(real) as u32;
        places.truncate(real);
        let is_whole = seen.end == StackEnd::Root;
        let called = self
            .calls
            .real(places.iter().map(|&(_, place)| place), is_whole);
        let end = if called < places.len() {
            StackEnd::NotCalled
        } else {
            seen.end
        };
        places.truncate(called);

        let mut reaches_root = false;
        // As large as it has to be, there is one for each of a hundred thousand stacks: collected, the
        // list would stay in the memory of the places, which is four times as large.
        let mut locations = Vec::with_capacity(places.len());
        for (address, place) in places {
            let (location, known) = self.location(image, traced, address, place);
            // Where a walk was cut for a reason, a nameless frame is none that a stack begins with.
            let may_be_nameless =
                end == StackEnd::FramePointers && known.is_some_and(|known| known.is_c_library);
            reaches_root = is_root(self.outermost(location), may_be_nameless);
            locations.push(location);
        }
        stack.walked = seen.end;
        // What lies beyond the first frame of a thread was none, and is no loss.
        stack.end = if reaches_root { StackEnd::Root } else { end };
        if let Some(frame) = stack.end.frame() {
            locations.reserve_exact(1);
            locations.push(self.pseudo(frame));
        }
        locations
    }

    /// The location of an address, and its mapping.
    fn location(
        &mut self,
        image: u32,
        traced: &Traced,
        address: u64,
        place: Option<MappedAddress<'_>>,
    ) -> (LocationIndex, Option<KnownModule>) {
        let known = place.map(|place| self.mapping(image, traced, place.index, place.mapped));
        // Where the mapping is another process's, the code lies elsewhere there.
        let address = match (known, place) {
            (Some(known), Some(place)) => {
                let mapping = &self.profile.mappings[known.mapping];
                (mapping.start + place.file_offset).wrapping_sub(mapping.file_offset)
            }
            _ => address,
        };
        let key = (known.map(|known| known.mapping), address);
        let index = match self.locations.get(&key) {
            Some(&index) => index,
            None => {
                let index = self.new_location(address, place, known);
                self.locations.insert(key, index);
                index
            }
        };
        (index, known)
    }

    /// The function that a location belongs to, not one inlined there; `None` where it has no name.
    fn outermost(&self, index: LocationIndex) -> Option<&str> {
        let location = &self.profile.locations[index.position()];
        let line = location
            .lines
            .last()
            .filter(|_| location.unknown.is_none())?;
        Some(&self.profile.functions[line.function].system_name)
    }

    fn new_location(
        &mut self,
        address: u64,
        place: Option<MappedAddress<'_>>,
        known: Option<KnownModule>,
    ) -> LocationIndex {
        let resolved = match (place, known) {
            (Some(place), Some(known)) => self
                .symbolizer
                .resolve(known.module, FileOffset(place.file_offset))
                .cloned()
                .map_err(Unknown::clone),
            _ => Err(Unknown::NoMapping),
        };
        let (lines, unknown) = match resolved {
            Ok(resolved) => {
                if let Some(known) = known {
                    self.mark_resolved(known.mapping, &resolved);
                }
                let lines = resolved
                    .frames
                    .into_iter()
                    .map(|frame| Line {
                        line: frame.line.unwrap_or(0),
                        function: self.function(Function {
                            name: frame.function,
                            system_name: frame.system_name,
                            file: frame.file.unwrap_or_default(),
                            start_line: 0,
                        }),
                    })
                    .collect();
                (lines, None)
            }
            Err(reason) => {
                let name = match place {
                    Some(place) => {
                        format!(
                            "{}+{:#x}",
                            short_name(&place.mapped.name),
                            place.file_offset
                        )
                    }
                    None => format!("{address:#x}"),
                };
                let function = self.function(Function {
                    system_name: name.clone(),
                    name,
                    ..Function::default()
                });
                (vec![Line { function, line: 0 }], Some(reason.to_string()))
            }
        };
        self.profile.add_location(Location {
            mapping: known.map(|known| known.mapping),
            address,
            lines,
            unknown,
        })
    }

    /// A frame that stands for something else than code.
    fn pseudo(&mut self, name: &str) -> LocationIndex {
        let function = self.function(Function {
            name: name.to_owned(),
            system_name: name.to_owned(),
            ..Function::default()
        });
        let lines = vec![Line { function, line: 0 }];
        // Few enough that looking through them beats another table.
        let found = self
            .profile
            .locations
            .iter()
            .position(|location| location.address == 0 && location.lines == lines);
        match found {
            Some(position) => LocationIndex::new(position),
            None => self.profile.add_location(Location {
                mapping: None,
                address: 0,
                lines,
                unknown: None,
            }),
        }
    }

    fn function(&mut self, function: Function) -> FunctionIndex {
        if let Some(&index) = self.functions.get(&function) {
            return index;
        }
        let index = self.profile.functions.len();
        self.profile.functions.push(function.clone());
        self.functions.insert(function, index);
        index
    }
}

fn short_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
