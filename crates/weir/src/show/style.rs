//! Colours, and whether there are any.

use std::io::IsTerminal;

use crate::cli::Color;

/// Where a text goes.
#[derive(Debug, Clone, Copy)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Whether to use colours on a stream: `--color`, then `NO_COLOR` and `TERM`, then whether it is a terminal.
pub fn colored(choice: Color, stream: Stream) -> bool {
    match choice {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let terminal = match stream {
                Stream::Stdout => std::io::stdout().is_terminal(),
                Stream::Stderr => std::io::stderr().is_terminal(),
            };
            terminal
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// A painter for one stream.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    on: bool,
}

impl Style {
    pub fn new(on: bool) -> Self {
        Self { on }
    }
    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }
    pub fn yellow(self, text: &str) -> String {
        self.paint("1;33", text)
    }
    pub fn green(self, text: &str) -> String {
        self.paint("1;32", text)
    }
}

/// Columns of the terminal behind stderr or stdout; 100 when there is none.
pub fn width() -> usize {
    let from_environment = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    from_environment.filter(|&columns| columns >= 20).unwrap_or_else(|| {
        let (_, columns) = console_size();
        columns
    })
}

fn console_size() -> (usize, usize) {
    use std::os::fd::AsRawFd;
    // SAFETY: `winsize` is plain data and the call writes no further than it.
    #[allow(unsafe_code)]
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let stdout = libc::ioctl(std::io::stdout().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size);
        if stdout != 0 && libc::ioctl(std::io::stderr().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) != 0 {
            return (24, 100);
        }
        size
    };
    if size.ws_col < 20 { (24, 100) } else { (size.ws_row.into(), size.ws_col.into()) }
}
