//! Rare events that the eBPF side tells of (`--log`): their numbers, and the words that user space has for
//! them. Numbers only cross the border, so that one function of the eBPF side tells all of them.

/// How much is told: events of a level and of those before it. Numbers are aya-log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogLevel {
    /// The amounts lack something.
    Error = 1,
    /// Amounts lack their stack.
    Warn,
    /// Processes begin and end.
    Info,
    /// What is harmless to the amounts.
    Debug,
    /// What is usual.
    Trace,
}

macro_rules! events {
    ($($variant:ident, $level:ident, $text:literal;)+) => {
        /// A rare event, with up to [`RareEvent::VALUES`] values.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        #[expect(missing_docs, reason = "each has its text")]
        pub enum RareEvent {
            $($variant,)+
        }

        impl RareEvent {
            /// All of them, in order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The level from which on it is told.
            #[inline(always)]
            #[must_use]
            pub const fn level(self) -> LogLevel {
                match self { $(Self::$variant => LogLevel::$level,)+ }
            }

            /// What is said of it: `{}` stands for a value, `{:x}` for one in hexadecimal digits.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

events! {
    ResultUnreadable, Error, "result unreadable at {:x}";
    LiveTableFull, Error, "live table full: address {:x}, size {}";
    FreeMissed, Error, "free missed: address {:x} given out again, size was {}";
    PendingTableFull, Error, "table of threads inside the allocator full";
    AlternateStackCall, Error,
        "call on an alternate stack: function {}, sp {:x}, interrupted at sp {:x}";
    NestingExceeded, Error, "too many calls inside one: function {}, sp {:x}, outer sp {:x}";
    ReturnUnmatched, Error, "return unmatched: function {}, sp {:x}";
    CallNotKept, Error, "interrupted call not kept: function {}, sp {:x}, depth {}";
    InterruptedCallGone, Error, "interrupted call is gone";
    ChildUnreadable, Error, "pid of a child unreadable";
    NoRoomForExec, Error, "no room for a process: exec of image {}";
    NoRoomForVfork, Error, "no room for a process: child {} of vfork";
    NoRoomForFork, Error, "no room for a process: child {}";
    EventDropped, Error, "event ring full: event {} of image {} dropped";
    ScratchBusy, Warn, "no scratch slot free: size {}";
    StackTableFull, Warn, "stack table full: stack {:x}, size {}";
    Exec, Info, "exec: image {} becomes {}, heap {}";
    Fork, Info, "fork: process {}, image {}, heap {}";
    End, Info, "end: image {}, heap {}";
    AllocationFailed, Debug, "allocation failed: function {}, size {}";
    ReturnWithoutEntry, Debug, "return without entry: function {}, sp {:x}";
    CallAbandoned, Debug, "call abandoned: function {}, sp {:x}, size {}";
    StackDeferred, Debug, "event ring full: stack {:x} deferred";
    CutNoRule, Debug, "stack cut: no rule for {:x}, sp {:x}, frame {}";
    CutUnsupportedRule, Debug, "stack cut: unsupported rule for {:x}, sp {:x}, frame {}";
    CutUnreadable, Debug, "stack cut: unreadable memory at {:x}, sp {:x}, frame {}";
    CutNotRising, Debug, "stack cut: caller below its callee at {:x}, sp {:x}, frame {}";
    CutUnmapped, Debug, "stack cut: no known mapping has {:x}, sp {:x}, frame {}";
    CutTooDeep, Debug, "stack cut: too deep at {:x}, sp {:x}, frame {}";
    CutSwitched, Debug, "stack cut: another stack was switched to at {:x}, sp {:x}, frame {}";
    CallInterrupted, Trace, "call interrupted: function {}, sp {:x}, depth {}";
}

impl RareEvent {
    /// The most values that an event has.
    pub const VALUES: usize = 3;

    /// The event with a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }
}
