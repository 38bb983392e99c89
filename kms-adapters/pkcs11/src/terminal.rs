//! A question on the terminal whose answer is a secret.
//!
//! What lives here: [`ask_on_terminal`]. What must not: what the secret is for. Invariant: what is typed is not
//! shown, and the terminal is as it was before whenever this returns.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal of this process, whatever its standard streams are.
const TERMINAL: &str = "/dev/tty";
/// How long the terminal waits for the answer.
const PATIENCE: Timespec = Timespec {
    tv_sec: 120,
    tv_nsec: 0,
};
/// Longest answer in bytes, with its line end.
const ANSWER_BYTES_MAX: usize = 257;
/// What Ctrl-C sends while the terminal makes no signals of it.
const INTERRUPT: u8 = 3;

/// Asks `question` on the terminal of this process and reads one line that is not shown. Blocks.
///
/// While it waits, Ctrl-C ends the question and nothing else: a signal could leave the terminal without echo.
///
/// # Errors
/// Where there is no terminal, nobody answers within two minutes, the answer is too long, or Ctrl-C was typed.
pub fn ask_on_terminal(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open(TERMINAL)
        .map_err(|_| io::Error::new(io::ErrorKind::NotFound, "there is no terminal to ask on"))?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    silent.local_modes.insert(LocalModes::ICANON);
    // Flush: what was typed before the question is no answer to it.
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let answer = terminal
        .write_all(question.as_bytes())
        .and_then(|()| read_line(&mut terminal));
    let restored = tcsetattr(&terminal, OptionalActions::Flush, &before);
    // The line end that was not shown.
    let _ = terminal.write_all(b"\n");
    let answer = answer?;
    restored?;
    Ok(answer)
}

fn read_line(terminal: &mut (impl Read + AsFd)) -> io::Result<Zeroizing<Vec<u8>>> {
    let ready = poll(&mut [PollFd::new(&*terminal, PollFlags::IN)], Some(&PATIENCE))?;
    if ready == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody answered"));
    }
    let mut line = Zeroizing::new([0_u8; ANSWER_BYTES_MAX]);
    let length = terminal.read(line.as_mut_slice())?;
    let typed = line.get(..length).unwrap_or_default();
    if typed.contains(&INTERRUPT) {
        return Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the question was interrupted",
        ));
    }
    match typed.strip_suffix(b"\n") {
        Some(answer) => Ok(Zeroizing::new(answer.to_vec())),
        None if typed.len() == ANSWER_BYTES_MAX => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the answer is too long",
        )),
        // The end of the input, Ctrl-D.
        None => Ok(Zeroizing::new(typed.to_vec())),
    }
}
