//! A plot of lines as SVG, to stand in a page that is read without a network. Pure.

use std::fmt::Write;

/// A plot.
pub(super) struct Chart {
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

/// Colours that can be told apart with the usual weaknesses of sight (Okabe and Ito), in turn.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c",
];

/// Dashes, for those who see or print no colours, in turn.
const DASHES: [&str; 3] = ["", "6 3", "2 3"];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Room for the numbers of the axes.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 12.0;
/// Numbers on an axis, about.
const TICKS: f64 = 6.0;

/// From where to where an axis goes, and in which steps it is numbered.
struct Axis {
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let span = if high > low { high - low } else { 1.0 };
        let power = 10_f64.powf((span / TICKS).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| span / step <= TICKS).unwrap_or(span);
        let from = (low / step).floor() * step;
        let to = (high / step).ceil() * step;
        Self {
            from,
            to: if to > from { to } else { from + step },
            step,
        }
    }

    fn part(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        let mut ticks = vec![self.from];
        while let Some(last) = ticks.last().filter(|last| **last + self.step * 0.5 < self.to) {
            ticks.push(last + self.step);
        }
        ticks
    }

    fn number(&self, value: f64) -> String {
        let decimals = if self.step >= 1.0 {
            0
        } else if self.step >= 0.1 {
            1
        } else {
            3
        };
        format!("{value:.decimals$}")
    }
}

impl Chart {
    /// The plot with its title and a legend.
    pub(super) fn render(&self) -> String {
        let of = |which: fn(&(f64, f64)) -> f64| self.lines.iter().flat_map(move |line| line.points.iter().map(which));
        let (x, y) = (Axis::around(of(|point| point.0)), Axis::around(of(|point| point.1)));
        let across = |value| LEFT + x.part(value) * (WIDTH - LEFT - RIGHT);
        let down = |value| TOP + (1.0 - y.part(value)) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.title),
            escape(self.title)
        );
        // Writing to a String cannot fail.
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
                HEIGHT - BOTTOM + 16.0
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
            let points: Vec<String> = line
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", across(*x), down(*y)))
                .collect();
            _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" {}><title>{}</title></polyline>",
                points.join(" "),
                stroke(number),
                escape(&line.name)
            );
        }
        svg.push_str("</svg>\n<ul class=\"legend\">");
        for (number, line) in self.lines.iter().enumerate() {
            _ = write!(
                svg,
                "<li><svg viewBox=\"0 0 30 8\" width=\"30\" height=\"8\"><line x1=\"0\" x2=\"30\" y1=\"4\" y2=\"4\" {}/></svg> {}</li>",
                stroke(number),
                escape(&line.name)
            );
        }
        svg.push_str("</ul></figure>\n");
        svg
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

    #[test]
    fn axis_is_numbered_in_round_steps_around_what_it_shows() {
        let axis = Axis::around([3.2, 97.0].into_iter());
        assert_eq!((axis.from, axis.to, axis.step), (0.0, 100.0, 20.0));
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let empty = Axis::around([].into_iter());
        assert!(empty.to > empty.from);
        let flat = Axis::around([5.0, 5.0].into_iter());
        assert!((0.0..=1.0).contains(&flat.part(5.0)));
    }

    #[test]
    fn chart_holds_each_line_and_names_it_in_the_legend() {
        let line = |name: &str| Line {
            name: name.to_owned(),
            points: vec![(0.0, 1.0), (10.0, 5.0)],
        };
        let chart = Chart {
            title: "What & why",
            x: "asked for",
            y: "allocated",
            lines: vec![line("tightest"), line("a<b")],
        };
        let svg = chart.render();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("What &amp; why") && svg.contains("</svg> a&lt;b</li>"));
        assert!(!svg.contains("http"), "nothing comes from a network");
    }
}
