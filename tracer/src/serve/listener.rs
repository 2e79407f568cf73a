//! Sockets that listen.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Access, Address, ServeError};

/// An address that this process has.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    address: Address,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, Remove),
}

/// A socket's file, which goes when the server does.
#[derive(Debug)]
pub(super) struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Bound {
    /// Takes an address. One that other machines reach needs a token.
    ///
    /// # Errors
    ///
    /// Somebody else has it, or it would be open to everybody.
    pub fn new(address: &Address, access: &Access) -> Result<Self, ServeError> {
        if address.is_open() && access.token.is_none() {
            return Err(ServeError::Open(address.to_string()));
        }
        let refused = |source| ServeError::Listen {
            address: address.to_string(),
            source,
        };
        match address {
            Address::Tcp(wanted) => {
                let socket = TcpListener::bind(wanted).map_err(refused)?;
                // Port 0 is any that is free.
                let has = socket.local_addr().map_err(refused)?;
                Ok(Self {
                    socket: Socket::Tcp(socket),
                    address: Address::Tcp(has),
                })
            }
            Address::Unix(path) => {
                make_way(path)?;
                let socket = UnixListener::bind(path).map_err(refused)?;
                let file = Remove(path.clone());
                // Nobody can have connected but who may write into the folder: `listen` is a part of `bind` here, and
                // the file has the mode of the process's umask for that moment.
                let owner = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(path, owner).map_err(refused)?;
                Ok(Self {
                    socket: Socket::Unix(socket, file),
                    address: address.clone(),
                })
            }
        }
    }

    /// The address, with the port that it has.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Must be called inside the runtime that serves.
    pub(super) fn listen(self) -> io::Result<Listener> {
        Ok(match self.socket {
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Listener::Tcp(tokio::net::TcpListener::from_std(socket)?)
            }
            Socket::Unix(socket, file) => {
                socket.set_nonblocking(true)?;
                Listener::Unix(tokio::net::UnixListener::from_std(socket)?, file)
            }
        })
    }
}

/// Removes a socket that nobody listens on any more; nothing else is ever removed.
fn make_way(path: &Path) -> Result<(), ServeError> {
    let taken = |what| ServeError::Taken {
        path: path.to_owned(),
        what,
    };
    // Not of what a link points to.
    let Ok(there) = path.symlink_metadata() else {
        return Ok(());
    };
    if !there.file_type().is_socket() {
        return Err(taken("is no socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|_| taken("can't be removed"))
        }
        _ => Err(taken("is in use")),
    }
}

/// A socket that takes connections.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(
        tokio::net::UnixListener,
        #[expect(dead_code, reason = "removed when dropped")] Remove,
    ),
}

/// A connection's two directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    /// The next connection, and where it comes from.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Stream>, Option<IpAddr>)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                // Answers are written whole.
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix(socket, _) => {
                let (stream, _) = socket.accept().await?;
                Ok((Box::new(stream), None))
            }
        }
    }

    /// Whether browsers can reach it.
    pub(super) const fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        let open: Result<Address, _> = "0.0.0.0:0".parse();
        let refused = open.map(|open| Bound::new(&open, &Access::default()).is_err());
        assert_eq!(refused, Ok(true));
        let closed: Result<Address, _> = "127.0.0.1:0".parse();
        let bound = closed.map(|closed| Bound::new(&closed, &Access::default()));
        assert!(matches!(bound, Ok(Ok(_))));
    }

    #[test]
    fn only_a_socket_that_nobody_has_is_replaced() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let address = Address::Unix(path.clone());
        let access = Access::default();
        let first = Bound::new(&address, &access)?;
        assert_eq!(path.metadata()?.permissions().mode() & 0o777, 0o600);
        let second = Bound::new(&address, &access).map_err(|error| error.to_string());
        assert!(second.is_err_and(|error| error.contains("is in use")));
        drop(first);
        assert!(!path.exists());
        // Of a server that was killed.
        drop(UnixListener::bind(&path)?);
        assert!(path.exists() && Bound::new(&address, &access).is_ok());
        std::fs::write(&path, "mine")?;
        let refused = Bound::new(&address, &access).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|error| error.contains("is no socket")));
        assert_eq!(std::fs::read_to_string(&path)?, "mine");
        Ok(())
    }
}
