#![allow(clippy::unwrap_used, missing_docs)]
mod common;
use cfn_v2x::roadside::Policy;
use common::World;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
#[tokio::test(start_paused = true)]
async fn profile() {
    let mut json = String::new();
    for (p, seed, n, s) in [(Policy::Predictive, 42, 20, 60), (Policy::Reactive, 43, 12, 40)] {
        let t0 = cpu();
        let mut w = World::virtual_time(seed);
        let t1 = cpu();
        w.edges(p, |_| {}).await;
        let t2 = cpu();
        let o = w.options(n, s);
        let e = w.drive(o).await;
        let t3 = cpu();
        println!("{p:?} world {:.2} edges {:.2} drive {:.2} crossings {}", t1 - t0, t2 - t1, t3 - t2, e.crossings.len());
        json += &serde_json::to_string_pretty(&e).unwrap();
    }
    std::fs::write(std::env::var("EVIDENCE").unwrap(), json).unwrap();
}
