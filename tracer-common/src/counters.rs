//! The counters: every event the eBPF side sees ends in one of them, so that nothing is dropped
//! without a name.

/// What a counter's value says about the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// Normal traffic.
    Traffic,
    /// Unusual but harmless to the amounts: worth showing, not a loss.
    Note,
    /// The amounts are right, but part of them cannot be given to a stack.
    AttributionLoss,
    /// The same, but only at the outer end: amounts and innermost frames are right, callers are missing.
    Cut,
    /// Allocations or frees that the amounts lack.
    AmountLoss,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $index:literal, $name:literal, $kind:ident;)+) => {
        /// A named counter, summed over CPUs. The discriminant is its slot in the counter map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[doc = $doc])+ $variant = $index,)+
        }

        impl Counter {
            /// Every counter, in slot order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name the counter has in every output.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the counter says about the profile.
            #[must_use]
            pub const fn kind(self) -> CounterKind {
                match self { $(Self::$variant => CounterKind::$kind,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

counters! {
    /// Allocations counted: each successful call of an allocating function, once.
    AllocObjects = 0, "alloc_objects", Traffic;
    /// Bytes asked for by the allocations counted.
    AllocBytes = 1, "alloc_bytes", Traffic;
    /// Frees of allocations counted, reallocations that gave up their old block included.
    FreeObjects = 2, "free_objects", Traffic;
    /// Bytes of the allocations freed.
    FreeBytes = 3, "free_bytes", Traffic;
    /// Allocation calls that returned NULL for a size above zero: nothing was allocated.
    FailedAllocs = 4, "failed_allocs", Note;
    /// Calls of free with NULL; none where the probe lies past the check for NULL.
    NullFrees = 5, "null_frees", Traffic;
    /// Allocator functions entered from inside another one, counted once with the outer call.
    NestedCalls = 6, "nested_calls", Traffic;
    /// Frees of addresses not seen allocated: memory from before the attach or inherited by fork.
    UnknownFrees = 7, "unknown_frees", Note;
    /// Addresses allocated twice with no free between: the free was missed, the old block is given up.
    MissedFrees = 8, "missed_frees", AmountLoss;
    /// Allocations not kept in the live table because it was full or could not grow in time; allocated counts them, live cannot (--max-live makes room).
    LiveTableFull = 9, "live_table_full", AmountLoss;
    /// Bytes of the allocations not kept in the live table because it was full.
    LiveTableFullBytes = 10, "live_table_full_bytes", AmountLoss;
    /// Allocations whose stack found no room in the stack table; in the totals, in no stack (--max-stacks makes room).
    StackTableFull = 11, "stack_table_full", AttributionLoss;
    /// Bytes of the allocations whose stack found no room in the stack table.
    StackTableFullBytes = 12, "stack_table_full_bytes", AttributionLoss;
    /// Stacks not walked because every scratch slot of the CPU was in use.
    StackScratchBusy = 13, "stack_scratch_busy", AttributionLoss;
    /// Walks along frame pointers that ended at one that leads nowhere. So end whole stacks, too, wherever the first function left something else in the register; those that lack callers are in cut_frame_pointers.
    StackUnreadable = 14, "stack_unreadable", Note;
    /// Allocations whose stack was cut at the depth limit.
    CutTooDeep = 15, "cut_too_deep", Cut;
    /// Stacks that found the event ring full; each is sent again when it is next seen.
    StackEventDeferred = 16, "stack_event_deferred", Note;
    /// Process events (exec, exit, fork) that found the event ring full.
    ProcessEventDropped = 17, "process_event_dropped", AmountLoss;
    /// Calls not followed because too many threads were inside the allocator.
    PendingTableFull = 18, "pending_table_full", AmountLoss;
    /// Calls left by longjmp or an exception: the thread went on further up its stack, so that nobody has got what they allocated.
    AbandonedCalls = 19, "abandoned_calls", Note;
    /// Returns from allocator functions that were entered before tracing began.
    ReturnWithoutEntry = 20, "return_without_entry", Note;
    /// Results of posix_memalign that could not be read.
    ResultUnreadable = 21, "result_unreadable", AmountLoss;
    /// Updates of a kernel map refused for another reason than its size.
    MapUpdateFailed = 22, "map_update_failed", AmountLoss;
    /// Events of processes that are not traced, and of the target before and after the recording.
    ForeignEvents = 23, "foreign_events", Traffic;
    /// Children of fork that could not be followed because too many processes already were.
    TargetTableFull = 24, "target_table_full", AmountLoss;
    /// Calls taken for part of another call until there were too many of them for that.
    NestingExceeded = 25, "nesting_exceeded", AmountLoss;
    /// Frames walked by unwind tables.
    UnwoundFrames = 26, "unwound_frames", Traffic;
    /// Frames whose rule had to be searched for in a table; the others' was remembered.
    RuleSearches = 27, "rule_searches", Traffic;
    /// Allocations whose stack was cut in code that no unwind rule covers.
    CutNoRule = 28, "cut_no_rule", Cut;
    /// Allocations whose stack was cut at an unwind rule of a kind that is not followed.
    CutUnsupportedRule = 29, "cut_unsupported_rule", Cut;
    /// Allocations whose stack was cut where its memory could not be read.
    CutUnreadable = 30, "cut_unreadable", Cut;
    /// Allocations whose stack was cut where the caller's frame would have been below its callee's.
    CutNotRising = 31, "cut_not_rising", Cut;
    /// Allocations whose stack was cut in code that lies in no known mapping.
    CutUnmapped = 32, "cut_unmapped", Cut;
    /// Frees by the allocator itself: glibc gives back what it caches for a thread when the thread ends.
    AllocatorFrees = 33, "allocator_frees", Traffic;
    /// Stacks handed over as a copy and walked in user space: there was code on them that had been mapped a moment before.
    CopiedStacks = 34, "copied_stacks", Traffic;
    /// Calls of an allocator's own operator new, which are not followed: a return probe would keep its exceptions from their handlers.
    ThrowingCalls = 35, "throwing_calls", AmountLoss;
    /// Bytes asked for by the calls of an allocator's own operator new.
    ThrowingCallsBytes = 36, "throwing_calls_bytes", AmountLoss;
    /// Stacks walked by unwind tables; the others had been walked before and were recognised.
    UnwoundStacks = 37, "unwound_stacks", Traffic;
    /// Stacks taken for others, as was found by walking them as well.
    StacksMistaken = 38, "stacks_mistaken", AttributionLoss;
    /// Returns of calls that had been given up, or whose entry was missed: what they gave out is missing.
    ReturnUnmatched = 39, "return_unmatched", AmountLoss;
    /// Calls given up because too many were interrupted at the same time, each by the next.
    CallNotKept = 40, "call_not_kept", AmountLoss;
    /// Calls of signal handlers on an alternate stack that had interrupted another call further down: not followed, because a return probe would end the process.
    AlternateStackCalls = 41, "alternate_stack_calls", AmountLoss;
    /// Allocations whose stack was cut in a function that had changed to another stack, from which nothing leads back.
    CutSwitched = 42, "cut_switched", Cut;
    /// Allocations whose stack was followed through code in no known mapping as if it kept frame pointers: callers may be missing.
    GuessedStacks = 43, "guessed_stacks", Cut;
    /// Page faults of memory that belongs to a file, or is shared: not counted.
    FileFaults = 44, "file_faults", Traffic;
    /// Page faults that were counted without knowing whether the memory belongs to a file: its mappings were being changed.
    FaultsUnclassified = 45, "faults_unclassified", Note;
    /// Pages that became resident again: they had been given back, or were read before they were written.
    PagesAgain = 46, "pages_again", Traffic;
    /// Frees of addresses not seen allocated, where only windows are seen: most were allocated between two.
    FreesOfUnseen = 47, "frees_of_unseen", Traffic;
    /// Addresses allocated again that were held to be live, where only windows are seen: they had been freed between two.
    FreedUnseen = 48, "freed_unseen", Traffic;
}
