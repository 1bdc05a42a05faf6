//! Temporary.
use engine::*;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (prompt, decode): (usize, usize) = (a[2].parse().unwrap(), a[3].parse().unwrap());
    let threads =
        backend::Threads { count: a.get(4).map_or(2, |v| v.parse().unwrap()), processors: vec![1] };
    let backend = if a.get(5).is_some_and(|v| v == "ref") {
        backend::open_reference()
    } else {
        backend::open_cpu(&threads)
    };
    let mut e = Engine::open(
        a[1].as_ref(),
        backend,
        OpenOptions { context: prompt + decode + 8, ..OpenOptions::default() },
    )
    .unwrap();
    println!("{}", e.device());
    let mut s = e.open_session().unwrap();
    let vocab = e.shape().vocab as u32;
    let mut x = 12345u32;
    let tokens: Vec<_> = (0..prompt)
        .map(|_| {
            x = x.wrapping_mul(1664525).wrapping_add(1013904223);
            spec::TokenId((x >> 8) % vocab)
        })
        .collect();
    let t = Instant::now();
    let mut last = (0, Instant::now());
    e.sync(&mut s, &tokens, &mut |p| {
        if p.done > last.0 {
            println!(
                "  {} .. {}: {:.1} t/s",
                last.0,
                p.done,
                (p.done - last.0) as f64 / last.1.elapsed().as_secs_f64()
            );
        }
        last = (p.done, Instant::now());
        Flow::Continue
    })
    .unwrap();
    println!("prefill {:.2} t/s", prompt as f64 / t.elapsed().as_secs_f64());
    let mut times = Vec::new();
    for i in 0..decode {
        let t = Instant::now();
        e.step(&mut s, spec::TokenId((i as u32 * 7919 + 13) % vocab)).unwrap();
        times.push(t.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    if decode > 0 {
        println!(
            "decode median {:.2} t/s, best {:.2}, worst {:.2}",
            1.0 / times[decode / 2],
            1.0 / times[0],
            1.0 / times[decode - 1]
        );
    }
}
