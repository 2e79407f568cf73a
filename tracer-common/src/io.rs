//! The C library's functions that are counted in windows, as a measure of how much a program does.

use crate::AllocatorFn;

macro_rules! functions {
    ($($(#[$doc:meta])* $function:ident = $cookie:literal: $($symbol:literal)|+;)+) => {
        /// A function of the C library that asks the kernel for something on behalf of the work that is to be done.
        ///
        /// None that waits for several things at once (`epoll_wait`, `poll`), which is called less often the more there
        /// is to do; none of those for locks; none that only looks at the clock.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum IoFn {
            $($(#[$doc])* $function = $cookie,)+
        }

        impl IoFn {
            /// Every function, in the order of the discriminants, which go on where those of [`AllocatorFn`] end.
            pub const ALL: [Self; [$($cookie),+].len()] = [$(Self::$function),+];

            /// The names of its symbol, the one for people first.
            #[must_use]
            pub const fn symbols(self) -> &'static [&'static str] {
                match self {
                    $(Self::$function => &[$($symbol),+],)+
                }
            }
        }
    };
}

functions! {
    /// `ssize_t read(int fd, void *buf, size_t count)`
    Read = 20: "read";
    /// `ssize_t write(int fd, const void *buf, size_t count)`
    Write = 21: "write";
    /// `ssize_t readv(int fd, const struct iovec *iov, int iovcnt)`
    Readv = 22: "readv";
    /// `ssize_t writev(int fd, const struct iovec *iov, int iovcnt)`
    Writev = 23: "writev";
    /// `ssize_t pread(int fd, void *buf, size_t count, off_t offset)`
    Pread = 24: "pread" | "pread64";
    /// `ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset)`
    Pwrite = 25: "pwrite" | "pwrite64";
    /// `ssize_t recv(int fd, void *buf, size_t len, int flags)`
    Recv = 26: "recv";
    /// `ssize_t recvfrom(int fd, void *buf, size_t len, int flags, …)`
    Recvfrom = 27: "recvfrom";
    /// `ssize_t recvmsg(int fd, struct msghdr *msg, int flags)`
    Recvmsg = 28: "recvmsg";
    /// `ssize_t send(int fd, const void *buf, size_t len, int flags)`
    Send = 29: "send";
    /// `ssize_t sendto(int fd, const void *buf, size_t len, int flags, …)`
    Sendto = 30: "sendto";
    /// `ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)`
    Sendmsg = 31: "sendmsg";
    /// `ssize_t sendfile(int out, int in, off_t *offset, size_t count)`
    Sendfile = 32: "sendfile" | "sendfile64";
    /// `int accept(int fd, …)`
    Accept = 33: "accept";
    /// `int accept4(int fd, …, int flags)`
    Accept4 = 34: "accept4";
    /// `int connect(int fd, …)`
    Connect = 35: "connect";
    /// `int open(const char *path, int flags, …)`
    Open = 36: "open" | "open64";
    /// `int openat(int folder, const char *path, int flags, …)`
    Openat = 37: "openat" | "openat64";
    /// `int close(int fd)`
    Close = 38: "close";
}

impl IoFn {
    /// The function's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.symbols()[0]
    }

    /// The function that a symbol names.
    #[must_use]
    pub fn named(symbol: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|function| function.symbols().contains(&symbol))
    }

    /// The function's attach cookie.
    #[must_use]
    pub const fn cookie(self) -> u64 {
        self as u64
    }
}

/// A function whose calls are counted in windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Callee {
    /// Of an allocator.
    Allocator(AllocatorFn),
    /// Of the C library.
    Io(IoFn),
}

impl Callee {
    /// How many there are. Their cookies are the numbers from 1 on.
    pub const COUNT: usize = AllocatorFn::ALL.len() + IoFn::ALL.len();

    /// All of them, in the order of their cookies.
    pub fn all() -> impl Iterator<Item = Self> {
        let allocators = AllocatorFn::ALL.into_iter().map(Self::Allocator);
        allocators.chain(IoFn::ALL.into_iter().map(Self::Io))
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocator(function) => function.name(),
            Self::Io(function) => function.name(),
        }
    }

    /// Its attach cookie.
    #[must_use]
    pub const fn cookie(self) -> u64 {
        match self {
            Self::Allocator(function) => function.cookie(),
            Self::Io(function) => function.cookie(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_numbers_in_a_row() {
        assert!(
            Callee::all()
                .map(Callee::cookie)
                .eq(1..=Callee::COUNT as u64)
        );
    }

    #[test]
    fn a_symbol_names_its_function() {
        assert_eq!(IoFn::named("pread64"), Some(IoFn::Pread));
        assert_eq!(IoFn::named("writev"), Some(IoFn::Writev));
        assert_eq!(IoFn::named("epoll_wait"), None);
        assert_eq!(Callee::Io(IoFn::Openat).name(), "openat");
    }
}
