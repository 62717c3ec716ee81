//! How long a frame of the windows of stage 10 takes while lines arrive:
//! `cargo bench --features window --bench window`.
//!
//! This measures the work of the window's own thread in each frame, sixty times a second: it
//! takes in what has come, lays everything out, and makes triangles of it. It does not measure
//! what a graphics card then does with the triangles.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use socket_stages_window as window;
use window::eframe::{self, egui};
use window::egui_kittest::Harness;
use window::server::State;

#[path = "../examples/10_window_client.rs"]
#[allow(dead_code, reason = "`main` is for the program itself")]
mod client;
#[path = "../examples/10_window_server/main.rs"]
#[allow(dead_code, reason = "`main` is for the program itself")]
mod server;

const FRAME: Duration = Duration::from_micros(16_667);
const FRAMES: usize = 600;

fn main() {
    println!("time for a frame, of {FRAMES} frames at 60 a second\n");
    println!("| window | lines per second | median | 99 of 100 | longest |");
    println!("|---|---|---|---|---|");
    for rate in [0, 1_000, 10_000] {
        report("client", rate, &of_the_client(rate));
    }
    for rate in [0, 1_000, 10_000] {
        report("server", rate, &of_the_server(rate));
    }
}

fn report(window: &str, rate: usize, times: &Histogram<u64>) {
    let [median, most, longest] = [
        times.value_at_quantile(0.5),
        times.value_at_quantile(0.99),
        times.max(),
    ]
    .map(|micros| format!("{:.1} ms", micros as f64 / 1000.0));
    println!("| {window} | {rate} | {median} | {most} | {longest} |");
}

/// A server that says this many lines a second.
fn of_the_client(rate: usize) -> Histogram<u64> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let args = client::Args::parse_from(["", "--name", "ana", "--port", &port]);
    let mut harness = open(|context| client::Window::new(args, context));
    harness.step();
    // The *Connect* button has the keyboard.
    harness.key_press(egui::Key::Enter);
    harness.step();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"* welcome, ana\n").unwrap();
    let speaker = thread::spawn(move || speaks(&mut stream, "beto: ", rate));
    let times = measure(&mut harness);
    drop(harness); // this ends the connection
    speaker.join().unwrap();
    times
}

/// Ten clients that say this many lines a second, all together.
fn of_the_server(rate: usize) -> Histogram<u64> {
    const SPEAKERS: usize = 10;
    let args = server::Args::parse_from(["", "--port", "0", "--max-rate", "1000000"]);
    let mut harness = open(|context| server::Window::new(args, context));
    let address = loop {
        harness.step();
        if let State::Listening(address) = harness.state().shown().state() {
            break address;
        }
    };
    let speakers: Vec<_> = (0..SPEAKERS)
        .map(|n| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(format!("client{n}\n").as_bytes()).unwrap();
            // A client that does not read is disconnected.
            let mut reading = stream.try_clone().unwrap();
            thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
            thread::spawn(move || {
                speaks(&mut stream, "", rate / SPEAKERS);
                let _ = stream.shutdown(std::net::Shutdown::Both);
            })
        })
        .collect();
    let times = measure(&mut harness);
    drop(harness);
    speakers
        .into_iter()
        .for_each(|speaker| speaker.join().unwrap());
    times
}

fn open<A: eframe::App + 'static>(begin: impl FnOnce(&egui::Context) -> A) -> Harness<'static, A> {
    Harness::builder()
        .with_size([1600.0, 1000.0])
        .build_eframe(|created| {
            window::dress(&created.egui_ctx);
            begin(&created.egui_ctx)
        })
}

/// Says lines at that rate, for as long as the frames are measured.
fn speaks(stream: &mut TcpStream, name: &str, rate: usize) {
    let start = Instant::now();
    let mut said = 0;
    while start.elapsed() < FRAME * FRAMES as u32 {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
        let lines: String = (said..due)
            .map(|n| {
                format!("{name}line {n}, which is about as long as what people say in a chat\n")
            })
            .collect();
        said = due;
        if stream.write_all(lines.as_bytes()).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn measure<A: eframe::App + 'static>(harness: &mut Harness<'static, A>) -> Histogram<u64> {
    let mut times = Histogram::new(3).unwrap();
    for _ in 0..30 {
        harness.step(); // the first frames draw each letter for the first time
    }
    let start = Instant::now();
    for n in 1..=FRAMES {
        let begin = Instant::now();
        harness.step();
        let output = harness.output();
        harness
            .ctx
            .tessellate(output.shapes.clone(), output.pixels_per_point);
        times.record(begin.elapsed().as_micros() as u64).unwrap();
        let next = start + FRAME * n as u32;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    times
}
