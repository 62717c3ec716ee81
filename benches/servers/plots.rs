//! The pictures of lesson 09, readable on a light and on a dark page: no background, and
//! colours that stand out from both.

use std::fs;
use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::Deliveries;

const GREY: RGBColor = RGBColor(128, 128, 128);
const COLOURS: [RGBColor; 10] = [
    RGBColor(150, 150, 150),
    RGBColor(110, 110, 110),
    RGBColor(220, 60, 50),
    RGBColor(190, 140, 60),
    RGBColor(140, 110, 200),
    RGBColor(70, 150, 220),
    RGBColor(60, 170, 120),
    RGBColor(130, 150, 70),
    RGBColor(230, 120, 30),
    RGBColor(200, 80, 160),
];

/// A picture for each load: deliveries in a second, by the number of receivers.
pub fn draw<const N: usize>(all: &Deliveries, loads: [&str; N]) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lessons/images");
    fs::create_dir_all(&folder)?;
    for (number, load) in loads.into_iter().enumerate() {
        let name = format!("09_{}.svg", load.replace(' ', "_"));
        picture(all, number, load, &folder.join(&name)).map_err(|error| anyhow!("{error}"))?;
        println!("drawn: lessons/images/{name}");
    }
    Ok(())
}

fn picture(
    all: &Deliveries,
    load: usize,
    title: &str,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let of_load = || {
        all.iter()
            .filter(move |((number, _, _), _)| *number == load)
    };
    let mut servers: Vec<_> = of_load()
        .map(|((_, _, server), _)| server.clone())
        .collect();
    servers.sort();
    servers.dedup();
    let receivers = |(_, receivers, _): &(usize, usize, String)| *receivers as f64;
    let least = of_load()
        .map(|(key, _)| receivers(key))
        .fold(f64::MAX, f64::min);
    let most = of_load().map(|(key, _)| receivers(key)).fold(0.0, f64::max);
    let top = of_load()
        .map(|(_, outcome)| outcome.per_second)
        .fold(0.0, f64::max);
    let bottom = of_load()
        .map(|(_, outcome)| outcome.per_second)
        .fold(f64::MAX, f64::min);

    let text = ("sans-serif", 15).into_font().color(&GREY);
    let root = SVGBackend::new(path, (760, 440)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .caption(
            format!("{title}: deliveries in a second"),
            ("sans-serif", 18).into_font().color(&GREY),
        )
        .margin(12)
        .margin_right(190)
        .x_label_area_size(45)
        .y_label_area_size(80)
        .build_cartesian_2d(
            (least..most.max(least * 2.0)).log_scale(),
            (bottom * 0.8..top * 1.2).log_scale(),
        )?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(GREY)
        .label_style(text.clone())
        .y_labels(5)
        .x_desc("receivers")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| match *y >= 1e6 {
            true => format!("{:.1} M", y / 1e6),
            false => format!("{:.0} k", y / 1e3),
        })
        .draw()?;
    // The names stand at the ends of the curves, moved apart where they would overlap.
    let mut labels = Vec::new();
    for (server, colour) in servers.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<_> = of_load()
            .filter(|((_, _, name), _)| name == server)
            .map(|(key, outcome)| (receivers(key), outcome.per_second))
            .collect();
        let style = colour.stroke_width(2);
        chart.draw_series(LineSeries::new(points.clone(), style))?;
        let dots = points
            .iter()
            .map(|&point| Circle::new(point, 3, colour.filled()));
        chart.draw_series(dots)?;
        if let Some(&last) = points.last() {
            labels.push((chart.backend_coord(&last), server, *colour));
        }
    }
    labels.sort_by_key(|((_, y), _, _)| *y);
    let mut lowest = i32::MIN;
    for ((x, y), server, colour) in labels {
        let y = y.max(lowest + 16);
        lowest = y;
        let label = ("sans-serif", 14).into_font().color(&colour);
        root.draw_text(server, &label, (x + 10, y - 7))?;
    }
    root.present()?;
    Ok(())
}
