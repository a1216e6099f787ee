//! A plot of lines as SVG, to stand in a page that is read without a network, or alone as a picture. Pure.
//!
//! Colours and dashes are those of the place of a line. They can be read on white and on dark ground, since nobody knows on which a picture is shown.

use std::fmt::Write;

use super::axis::Axis;

/// A plot.
pub(super) struct Chart {
    /// What a file that holds it is called, without its ending.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) lines: Vec<Line>,
}

/// A line of a plot, from left to right.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Colours that can be told apart with the usual weaknesses of sight, in turn: those of Okabe and Ito, the light ones darker, so that all have three times
/// the contrast on white as well.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#3d9be0", "#8c8c8c",
];

/// Dashes, for those who see or print no colours, in turn. Only the first has no gaps, so that lines that lie on each other are seen through the gaps.
const DASHES: [&str; 8] = ["", "7 3", "2 3", "10 3 2 3", "4 2", "14 4", "8 2 2 2 2 2", "5 5"];

/// What pictures write in: readable on white and on dark ground.
const INK: &str = "#767676";

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Room for the numbers of the axes.
const LEFT: f64 = 68.0;
const BOTTOM: f64 = 48.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 16.0;
/// How far a line may be from what it shows where points are left out: less than is seen.
const TOLERANCE: f64 = 0.3;
/// Room for the title of a picture, and for each line of its legend.
const TITLE: f64 = 28.0;
const LEGEND: f64 = 20.0;
/// Room for a letter of a legend, and for what stands beside its name.
const LETTER: f64 = 6.6;
const SAMPLE: f64 = 56.0;

impl Chart {
    /// Whether there is anything but zeros to see.
    pub(super) fn shows_something(&self) -> bool {
        self.lines.iter().any(|line| line.points.iter().any(|(_, y)| *y != 0.0))
    }

    /// The plot with its title and a legend, for a page.
    pub(super) fn figure(&self) -> String {
        let title = escape(self.title);
        let mut figure = format!(
            "<figure><figcaption>{title}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n{}</svg>\n\
             <ul class=\"legend\">",
            self.plot()
        );
        // Writing to a String cannot fail.
        for (number, line) in self.lines.iter().enumerate() {
            _ = write!(
                figure,
                "<li><svg viewBox=\"0 0 30 8\" width=\"30\" height=\"8\"><line x1=\"0\" x2=\"30\" y1=\"4\" y2=\"4\" {}/></svg> {}</li>",
                stroke(number),
                escape(&line.name)
            );
        }
        figure.push_str("</ul></figure>\n");
        figure
    }

    /// The plot as a file of its own, with all that it needs inside.
    pub(super) fn picture(&self) -> String {
        let (mut legend, mut at, mut down) = (String::new(), LEFT, TITLE + HEIGHT + LEGEND / 2.0);
        for (number, line) in self.lines.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "letters of a name")]
            let width = SAMPLE + LETTER * line.name.chars().count() as f64;
            if at > LEFT && at + width > WIDTH {
                (at, down) = (LEFT, down + LEGEND);
            }
            _ = writeln!(
                legend,
                "<line x1=\"{at:.1}\" x2=\"{:.1}\" y1=\"{down:.1}\" y2=\"{down:.1}\" {}/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                at + 30.0,
                stroke(number),
                at + 36.0,
                down + 4.0,
                escape(&line.name)
            );
            at += width;
        }
        let (title, height) = (escape(self.title), down + LEGEND);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
             <title>{title}</title>\n\
             <style>text{{font:11px system-ui,sans-serif;fill:{INK}}}.grid{{stroke:{INK};stroke-opacity:.35}}.title{{font-weight:600;font-size:14px}}</style>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"18\">{title}</text>\n<g transform=\"translate(0 {TITLE})\">\n{}</g>\n{legend}</svg>\n",
            self.plot()
        )
    }

    /// Axes and lines.
    fn plot(&self) -> String {
        let of = |which: fn(&(f64, f64)) -> f64| self.lines.iter().flat_map(move |line| line.points.iter().map(which));
        let (x, y) = (
            Axis::up_to_the_last(of(|point| point.0)),
            Axis::around(of(|point| point.1)),
        );
        let across = |value| LEFT + x.part(value) * (WIDTH - LEFT - RIGHT);
        let down = |value| TOP + (1.0 - y.part(value)) * (HEIGHT - TOP - BOTTOM);
        let mut svg = String::new();
        for tick in y.ticks() {
            let (at, number) = (down(tick), y.number(tick));
            _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{number}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0
            );
        }
        for tick in x.ticks() {
            let (at, number) = (across(tick), x.number(tick));
            _ = writeln!(
                svg,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{number}</text>",
                HEIGHT - BOTTOM + 18.0
            );
        }
        let middle = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
        _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text transform=\"translate(14 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
            HEIGHT - 8.0,
            escape(self.x),
            escape(self.y)
        );
        for (number, line) in self.lines.iter().enumerate() {
            let points: Vec<(f64, f64)> = line.points.iter().map(|(x, y)| (across(*x), down(*y))).collect();
            let points: Vec<String> = thinned(&points).iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" {}><title>{}</title></polyline>",
                points.join(" "),
                stroke(number),
                escape(&line.name)
            );
        }
        svg
    }
}

/// The points without those that a line through the others passes close enough by (Ramer, Douglas and Peucker).
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let [first, between @ .., last] = points else {
        return points.to_vec();
    };
    let far = |(x, y): &(f64, f64)| {
        let along = (last.0 - first.0).hypot(last.1 - first.1);
        match along == 0.0 {
            true => (x - first.0).hypot(y - first.1),
            false => ((last.0 - first.0) * (first.1 - y) - (first.0 - x) * (last.1 - first.1)).abs() / along,
        }
    };
    let farthest = between.iter().map(far).enumerate();
    match farthest.max_by(|one, other| one.1.total_cmp(&other.1)) {
        Some((place, distance)) if distance > TOLERANCE => {
            let (left, right) = (thinned(&points[..=place + 1]), thinned(&points[place + 1..]));
            [&left[..left.len() - 1], &right].concat()
        }
        _ => vec![*first, *last],
    }
}

fn stroke(number: usize) -> String {
    let (colour, dash) = (COLOURS[number % COLOURS.len()], DASHES[number % DASHES.len()]);
    format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"")
}

/// Text as it stands in a page.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = text.replace('&', "&amp;");
    for (from, to) in [('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;")] {
        escaped = escaped.replace(from, to);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(names: &[&str], points: &[(f64, f64)]) -> Chart {
        let line = |name: &&str| Line {
            name: (*name).to_owned(),
            points: points.to_vec(),
        };
        Chart {
            name: "what",
            title: "What & why",
            x: "asked for",
            y: "allocated",
            lines: names.iter().map(line).collect(),
        }
    }

    #[test]
    fn chart_holds_each_line_and_names_it_in_the_legend() {
        let figure = chart(&["tightest", "a<b"], &[(0.0, 1.0), (10.0, 5.0)]).figure();
        assert_eq!(figure.matches("<polyline").count(), 2);
        assert!(figure.contains("What &amp; why") && figure.contains("</svg> a&lt;b</li>"));
        assert!(!figure.contains("http"), "nothing comes from a network");
    }

    #[test]
    fn picture_has_its_title_styles_and_legend_inside_and_the_legend_within_its_edges() {
        let long = "spread=attribute:ecs.availability-zone+tightest";
        let picture = chart(&[long, long, "random"], &[(0.0, 1.0), (10.0, 5.0)]).picture();
        assert_eq!(picture.matches("<polyline").count(), 3);
        assert_eq!(picture.matches("<style>").count(), 1);
        assert!(picture.starts_with("<svg xmlns=") && picture.contains(">What &amp; why</text>"));
        // The second finds no room beside the first; the third stands beside it.
        let rows: Vec<bool> = ["y1=\"398.0\"", "y1=\"418.0\"", "y1=\"438.0\""]
            .map(|row| picture.contains(row))
            .into();
        assert_eq!(rows, [true, true, false]);
        assert!(picture.contains("viewBox=\"0 0 720 438\""), "{picture}");
        assert_eq!(
            picture.matches("http").count(),
            1,
            "the name of SVG alone looks like an address"
        );
    }

    #[test]
    fn points_that_are_not_seen_are_left_out_and_corners_stay() {
        let straight: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), f64::from(x) * 2.0)).collect();
        assert_eq!(thinned(&straight), [straight[0], straight[99]]);
        let corner = [(0.0, 0.0), (50.0, 0.1), (50.0, 80.0), (100.0, 80.0)];
        assert_eq!(thinned(&corner), corner);
        assert_eq!(thinned(&[]), []);
        assert_eq!(thinned(&corner[..1]), corner[..1]);
    }

    #[test]
    fn what_shows_zeros_alone_shows_nothing() {
        assert!(!chart(&["a"], &[(0.0, 0.0), (1.0, 0.0)]).shows_something());
        assert!(chart(&["a"], &[(0.0, 0.0), (1.0, 0.1)]).shows_something());
    }

    /// Contrast as the Web Content Accessibility Guidelines have it, which ask for 3 in drawings and for 4.5 in text.
    fn contrast(one: &str, other: &str) -> f64 {
        let part = |colour: &str, at: usize| {
            let of_255 = u8::from_str_radix(&colour[at..at + 2], 16).expect("a colour");
            let value = f64::from(of_255) / 255.0;
            match value <= 0.040_45 {
                true => value / 12.92,
                false => ((value + 0.055) / 1.055).powf(2.4),
            }
        };
        let light = |colour: &str| 0.2126 * part(colour, 1) + 0.7152 * part(colour, 3) + 0.0722 * part(colour, 5);
        let (one, other) = (light(one), light(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn colours_and_ink_are_seen_on_white_and_on_dark_ground() {
        for ground in ["#ffffff", "#121212"] {
            for colour in COLOURS {
                assert!(contrast(colour, ground) >= 3.0, "{colour} on {ground}");
            }
            assert!(contrast(INK, ground) >= 4.0, "{INK} on {ground}");
        }
        assert_eq!(
            COLOURS.len() % 2,
            1,
            "colours and dashes come together again only after all pairs"
        );
    }
}
