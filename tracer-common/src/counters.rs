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
    /// Frees of counted allocations, including reallocations that gave up their old block.
    FreeObjects = 2, "free_objects", Traffic;
    /// Bytes of those freed allocations.
    FreeBytes = 3, "free_bytes", Traffic;
    /// Allocation calls that returned NULL for a size above zero: nothing was allocated.
    FailedAllocs = 4, "failed_allocs", Note;
    /// Calls of free with NULL; always 0 where the probe lies behind the check for NULL.
    NullFrees = 5, "null_frees", Traffic;
    /// Allocator calls made from inside another allocator call; each allocation counts once, with the outer call.
    NestedCalls = 6, "nested_calls", Traffic;
    /// Frees of memory that was allocated before the attach or inherited by fork.
    UnknownFrees = 7, "unknown_frees", Note;
    /// Frees that were missed: an address was allocated again without a free in between, so its old block was taken out.
    MissedFrees = 8, "missed_frees", AmountLoss;
    /// Allocations missing from the live amounts because the live table was full or could not grow in time; raise --max-live.
    LiveTableFull = 9, "live_table_full", AmountLoss;
    /// Bytes of the allocations missing from the live amounts.
    LiveTableFullBytes = 10, "live_table_full_bytes", AmountLoss;
    /// Allocations that belong to no stack because the stack table was full; the totals include them. Raise --max-stacks.
    StackTableFull = 11, "stack_table_full", AttributionLoss;
    /// Bytes of the allocations that belong to no stack because the stack table was full.
    StackTableFullBytes = 12, "stack_table_full_bytes", AttributionLoss;
    /// Stacks not walked because all scratch buffers of the CPU were in use.
    StackScratchBusy = 13, "stack_scratch_busy", AttributionLoss;
    /// Walks along frame pointers that ended at an unreadable one. Whole stacks can end like this, too; cut_frame_pointers counts those that lack callers.
    StackUnreadable = 14, "stack_unreadable", Note;
    /// Allocations whose stack was cut at the depth limit.
    CutTooDeep = 15, "cut_too_deep", Cut;
    /// New stacks that found the event ring full; each is sent again the next time it is seen.
    StackEventDeferred = 16, "stack_event_deferred", Note;
    /// Process events (exec, exit, fork) that found the event ring full.
    ProcessEventDropped = 17, "process_event_dropped", AmountLoss;
    /// Calls not followed because too many threads were inside the allocator at once.
    PendingTableFull = 18, "pending_table_full", AmountLoss;
    /// Calls left by longjmp or an exception before any block reached the program.
    AbandonedCalls = 19, "abandoned_calls", Note;
    /// Returns from allocator functions that were entered before tracing began.
    ReturnWithoutEntry = 20, "return_without_entry", Note;
    /// Results of posix_memalign that could not be read.
    ResultUnreadable = 21, "result_unreadable", AmountLoss;
    /// Updates of a kernel map that failed for a reason other than a full map.
    MapUpdateFailed = 22, "map_update_failed", AmountLoss;
    /// Calls ignored: by processes that are not traced, or by the target before and after the recording.
    ForeignEvents = 23, "foreign_events", Traffic;
    /// Forked children not followed because too many processes were followed already.
    TargetTableFull = 24, "target_table_full", AmountLoss;
    /// Calls treated as part of another call until there were too many for that to be true.
    NestingExceeded = 25, "nesting_exceeded", AmountLoss;
    /// Frames walked by unwind tables.
    UnwoundFrames = 26, "unwound_frames", Traffic;
    /// Frames whose unwind rule was searched for in a table; the other rules were cached.
    RuleSearches = 27, "rule_searches", Traffic;
    /// Allocations whose stack was cut in code that no unwind rule covers.
    CutNoRule = 28, "cut_no_rule", Cut;
    /// Allocations whose stack was cut at an unwind rule of a kind that is not followed.
    CutUnsupportedRule = 29, "cut_unsupported_rule", Cut;
    /// Allocations whose stack was cut where its memory could not be read.
    CutUnreadable = 30, "cut_unreadable", Cut;
    /// Allocations whose stack was cut because the caller's frame would lie below the callee's.
    CutNotRising = 31, "cut_not_rising", Cut;
    /// Allocations whose stack was cut in code outside of all known mappings.
    CutUnmapped = 32, "cut_unmapped", Cut;
    /// Frees by the allocator itself: when a thread ends, glibc frees the blocks it cached for it.
    AllocatorFrees = 33, "allocator_frees", Traffic;
    /// Stacks copied and walked in user space, because they led through code mapped a moment before.
    CopiedStacks = 34, "copied_stacks", Traffic;
    /// Calls of the allocator's own operator new, which are counted but not followed: a return probe would keep C++ exceptions from their handlers.
    ThrowingCalls = 35, "throwing_calls", AmountLoss;
    /// Bytes requested by those calls of operator new.
    ThrowingCallsBytes = 36, "throwing_calls_bytes", AmountLoss;
    /// Stacks walked by unwind tables; the other stacks were found in the cache.
    UnwoundStacks = 37, "unwound_stacks", Traffic;
    /// Credited to the wrong cached stack, as a second walk showed.
    StacksMistaken = 38, "stacks_mistaken", AttributionLoss;
    /// Returns without a matching call, because it was given up or its entry missed; the block is missing from the amounts.
    ReturnUnmatched = 39, "return_unmatched", AmountLoss;
    /// Calls given up because signal handlers interrupted too many calls at once.
    CallNotKept = 40, "call_not_kept", AmountLoss;
    /// Calls not followed: made by a signal handler on an alternate stack while it interrupted another call, where a return probe would kill the process.
    AlternateStackCalls = 41, "alternate_stack_calls", AmountLoss;
    /// Allocations whose stack was cut in a function that switched to another stack without recording the way back.
    CutSwitched = 42, "cut_switched", Cut;
    /// Allocations whose stack was followed by frame pointers through code outside of all known mappings; callers may be missing.
    GuessedStacks = 43, "guessed_stacks", Cut;
    /// Page faults of file-backed or shared memory, which are not counted.
    FileFaults = 44, "file_faults", Traffic;
    /// Page faults counted without knowing whether the memory is file-backed, because its mappings were just changing.
    FaultsUnclassified = 45, "faults_unclassified", Note;
    /// Pages that became resident again after they were given back, or were read before the first write.
    PagesAgain = 46, "pages_again", Traffic;
    /// In windows: frees of memory that was allocated outside of them.
    FreesOfUnseen = 47, "frees_of_unseen", Traffic;
    /// In windows: frees that happened outside of them, noticed when the address was allocated again.
    FreedUnseen = 48, "freed_unseen", Traffic;
}
