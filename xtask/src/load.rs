//! Load on loopback at a fixed rate, over one keep-alive connection.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

/// The longest lag that is made up for; timers alone are late by a fraction of a millisecond.
const CATCH_UP: Duration = Duration::from_millis(5);

/// What a client saw.
pub(crate) struct Outcome {
    /// Requests answered with 200.
    pub(crate) answered: usize,
    /// Half of the answers took less.
    pub(crate) median_latency: Duration,
    /// One in a hundred answers took longer.
    pub(crate) p99_latency: Duration,
}

/// Asks for `path` at `rate` requests per second until `length` has passed; any answer but 200 is
/// an error. What it falls behind by, it catches up, but never by more than [`CATCH_UP`]: answers that
/// take too long lower the rate and cause no burst.
pub(crate) fn run(address: &str, path: &str, rate: u32, length: Duration) -> Result<Outcome> {
    let mut client = Client::connect(address)?;
    let interval = Duration::from_secs(1) / rate;
    let start = Instant::now();
    let mut next = start;
    let mut latencies = Vec::new();
    while start.elapsed() < length {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        client.get(path)?;
        latencies.push(asked.elapsed());
        next = (next + interval).max(asked.checked_sub(CATCH_UP).unwrap_or(asked));
    }
    latencies.sort_unstable();
    Ok(Outcome {
        answered: latencies.len(),
        median_latency: percentile(&latencies, 50),
        p99_latency: percentile(&latencies, 99),
    })
}

/// So many percent of the sorted latencies are below it.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let position = sorted.len() * percent / 100;
    sorted.get(position).copied().unwrap_or_default()
}

/// A connection that one request follows another on.
struct Client {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self {
            address: address.to_owned(),
            stream: BufReader::new(stream),
        })
    }

    fn get(&mut self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .context("cannot send a request")?;
        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 200 ") {
            bail!("{path} was answered with {status:?}");
        }
        let mut length = 0;
        loop {
            let header = self.line()?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().context("content-length")?;
            }
        }
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .context("cannot read an answer")?;
        String::from_utf8(body).context("the answer is not UTF-8")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("no answer")? == 0 {
            bail!("the service closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers every request on one connection with `status` until the client goes.
    fn serve(status: &'static str) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        thread::spawn(move || -> Result<()> {
            let (stream, _) = listener.accept()?;
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line)? > 0 {
                if line == "\r\n" {
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nOK");
                    stream.get_mut().write_all(answer.as_bytes())?;
                }
                line.clear();
            }
            Ok(())
        });
        Ok(address)
    }

    #[test]
    fn percentiles_of_a_hundred_latencies() {
        let latencies: Vec<_> = (0..100).map(Duration::from_micros).collect();
        assert_eq!(percentile(&latencies, 50), Duration::from_micros(50));
        assert_eq!(percentile(&latencies, 99), Duration::from_micros(99));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn one_request_follows_another_on_a_connection() -> Result<()> {
        let mut client = Client::connect(&serve("200 OK")?)?;
        assert_eq!(client.get("/")?, "OK");
        assert_eq!(client.get("/")?, "OK");
        Ok(())
    }

    #[test]
    fn any_other_status_is_an_error() -> Result<()> {
        let address = serve("500 Internal Server Error")?;
        let error = run(&address, "/", 1000, Duration::from_secs(1)).err();
        assert!(error.is_some_and(|error| error.to_string().contains("500")));
        Ok(())
    }
}
