//! The same calls by io_uring: they are no system calls of their own, so what watches system calls does not see them.

use std::io;
use std::os::fd::AsRawFd as _;

use enforcer_tests::PAYLOAD;
use io_uring::{IoUring, opcode, squeue, types::Fd};

use crate::datagram::udp4;
use crate::scene::Scene;
use crate::socket::{Address, Message, Socket};
use crate::stream::{at, tcp};

/// Has the kernel do one thing. What the entry points to has to live until this returns.
fn run(ring: &mut IoUring, entry: squeue::Entry) -> io::Result<()> {
    // SAFETY: the callers keep socket, address and payload until the completion is here.
    unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let completion = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    if completion.result() < 0 { Err(io::Error::from_raw_os_error(-completion.result())) } else { Ok(()) }
}

fn connect(ring: &mut IoUring, socket: &Socket, address: &Address) -> io::Result<()> {
    run(ring, opcode::Connect::new(Fd(socket.as_raw_fd()), address.pointer(), address.length()).build())?;
    socket.send(PAYLOAD, 0)
}

fn send_message(socket: &Socket, address: Address, flags: i32) -> io::Result<()> {
    let message = Message::new(PAYLOAD, Some(address), &[]);
    let entry = opcode::SendMsg::new(Fd(socket.as_raw_fd()), message.header()).flags(flags as u32);
    run(&mut IoUring::new(8)?, entry.build())
}

pub fn connect_v4(scene: &Scene) -> io::Result<()> {
    connect(&mut IoUring::new(8)?, &tcp(libc::AF_INET)?, &at(scene.target.denied4()))
}

pub fn connect_v6(scene: &Scene) -> io::Result<()> {
    connect(&mut IoUring::new(8)?, &tcp(libc::AF_INET6)?, &at(scene.target.denied6()))
}

/// A thread of the kernel's takes what is submitted.
pub fn connect_polled(scene: &Scene) -> io::Result<()> {
    let mut ring = IoUring::builder().setup_sqpoll(100).build(8)?;
    connect(&mut ring, &tcp(libc::AF_INET)?, &at(scene.target.denied4()))
}

/// A thread of the kernel's waits, not the caller.
pub fn connect_async(scene: &Scene) -> io::Result<()> {
    let (socket, address) = (tcp(libc::AF_INET)?, at(scene.target.denied4()));
    let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), address.pointer(), address.length()).build();
    run(&mut IoUring::new(8)?, entry.flags(squeue::Flags::ASYNC))?;
    socket.send(PAYLOAD, 0)
}

pub fn fastopen(scene: &Scene) -> io::Result<()> {
    send_message(&tcp(libc::AF_INET)?, at(scene.target.denied4()), libc::MSG_FASTOPEN)
}

pub fn sendmsg(scene: &Scene) -> io::Result<()> {
    send_message(&udp4()?, at(scene.target.denied4()), 0)
}

/// Linux 6.0.
pub fn sendto(scene: &Scene) -> io::Result<()> {
    let (socket, address) = (udp4()?, at(scene.target.denied4()));
    let entry = opcode::Send::new(Fd(socket.as_raw_fd()), PAYLOAD.as_ptr(), PAYLOAD.len() as u32);
    let entry = entry.dest_addr(address.pointer()).dest_addr_len(address.length());
    run(&mut IoUring::new(8)?, entry.build())
}

/// Without a copy; Linux 6.0.
pub fn send_zc(scene: &Scene) -> io::Result<()> {
    let (socket, address) = (udp4()?, at(scene.target.denied4()));
    let entry = opcode::SendZc::new(Fd(socket.as_raw_fd()), PAYLOAD.as_ptr(), PAYLOAD.len() as u32);
    let entry = entry.dest_addr(address.pointer()).dest_addr_len(address.length());
    run(&mut IoUring::new(8)?, entry.build())
}

/// Linux 6.1.
pub fn sendmsg_zc(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    let message = Message::new(PAYLOAD, Some(at(scene.target.denied4())), &[]);
    run(&mut IoUring::new(8)?, opcode::SendMsgZc::new(Fd(socket.as_raw_fd()), message.header()).build())
}
