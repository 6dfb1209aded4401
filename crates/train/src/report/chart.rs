//! One chart as SVG: lines over the steps of a run, with axes. It draws what it is given, and says below what it left out.

use std::fmt::Write as _;

use crate::page::escape;

/// A measured number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) step: u64,
    pub(super) epoch: f64,
    pub(super) value: f64,
}

/// Numbers of one name, in the order of steps.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// Lines with a common vertical axis.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What the vertical axis counts.
    pub(super) unit: String,
    pub(super) lines: Vec<Line>,
}

/// Size of the picture, and what is left around the plot: for numbers, units and the title.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;
/// Colors that the style of the page has.
const COLORS: usize = 6;
/// Lines with more points are thinned out.
const MOST_POINTS: usize = 500;
/// So many points of a line are drawn as dots.
const DOTS: usize = 60;
/// What is beyond cannot be drawn to scale with anything.
const LARGEST: f64 = 1e300;
/// What differs by less is drawn as equal: near the end of the range of f64, numbers lose their digits.
const SMALLEST: f64 = 1e-290;

impl Chart {
    /// Appends the figure. `steps`: the first and the last of the run, so that all its charts have the same horizontal axis.
    pub(super) fn draw(&self, page: &mut String, steps: [u64; 2]) {
        let drawn: Vec<&Point> =
            self.lines.iter().flat_map(|line| &line.points).filter(|point| can_draw(point)).collect();
        let all: usize = self.lines.iter().map(|line| line.points.len()).sum();
        let title = escape(&self.title);
        let _ = write!(
            page,
            "<figure>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"20\">{title}</text>\n"
        );
        let mut notes = Vec::new();
        if !drawn.is_empty() {
            let values = drawn.iter().map(|point| point.value);
            let x = Axis::new(steps.into_iter().map(|step| step as f64), [LEFT, WIDTH - RIGHT], true);
            let y = Axis::new(values, [HEIGHT - BOTTOM, TOP], false);
            self.draw_axes(page, &x, &y);
            for (index, line) in self.lines.iter().enumerate() {
                if draw_line(page, line, index, &x, &y) {
                    notes.push(format!("of {}, lowest and highest of each stretch", line.name));
                }
            }
        }
        page.push_str("</svg>\n");
        if drawn.len() < all {
            notes.push(format!("{} of {all} values are NaN or infinite and not drawn", all - drawn.len()));
        }
        self.draw_caption(page, &notes);
        page.push_str("</figure>\n");
    }

    fn draw_axes(&self, page: &mut String, x: &Axis, y: &Axis) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in &y.ticks {
            let at = y.place(*tick);
            let label = y.label(*tick);
            let _ = writeln!(
                page,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        for tick in &x.ticks {
            let at = x.place(*tick);
            let label = x.label(*tick);
            let _ = writeln!(
                page,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\
                 <text text-anchor=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>",
                bottom + 5.0,
                bottom + 18.0
            );
        }
        let middle = (TOP + bottom) / 2.0;
        let _ = writeln!(
            page,
            "<text text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">step</text>\
             <text text-anchor=\"middle\" transform=\"translate(16 {middle:.1}) rotate(-90)\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 8.0,
            escape(&self.unit)
        );
    }

    /// Which color is which line, where there are several, and the notes.
    fn draw_caption(&self, page: &mut String, notes: &[String]) {
        if self.lines.len() == 1 && notes.is_empty() {
            return;
        }
        page.push_str("<figcaption>");
        if self.lines.len() > 1 {
            for (index, line) in self.lines.iter().enumerate() {
                let _ = write!(
                    page,
                    "<svg viewBox=\"0 0 24 8\" style=\"width:24px;display:inline\" aria-hidden=\"true\">\
                     <path class=\"line {}\" d=\"M0 4H24\"{}/></svg> {} ",
                    color(index),
                    dashes(index),
                    escape(&line.name)
                );
            }
        }
        if !notes.is_empty() {
            let _ = write!(page, "<br>Drawn {}.", escape(&notes.join("; ")));
        }
        page.push_str("</figcaption>\n");
    }
}

fn can_draw(point: &Point) -> bool {
    // False for NaN.
    point.value.abs() <= LARGEST
}

fn color(index: usize) -> String {
    format!("s{}", index % COLORS)
}

/// Lines beyond the colors there are begin with the first again, in dashes that get shorter.
fn dashes(index: usize) -> String {
    match index / COLORS {
        0 => String::new(),
        round => format!(" stroke-dasharray=\"{} 3\"", (10 / round).max(1)),
    }
}

/// Draws a line, broken where a value is not a number; whether it was thinned out.
fn draw_line(page: &mut String, line: &Line, index: usize, x: &Axis, y: &Axis) -> bool {
    let (points, thinned) = thin(&line.points);
    let place = |point: &Point| [x.place(point.step as f64), y.place(point.value)];
    let mut path = String::new();
    let mut pen_down = false;
    for point in &points {
        if can_draw(point) {
            let [x, y] = place(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if pen_down { 'L' } else { 'M' });
        }
        pen_down = can_draw(point);
    }
    let color = color(index);
    let _ = writeln!(page, "<path class=\"line {color}\" d=\"{path}\"{}/>", dashes(index));
    // Of a few points each is seen; a point between two that are not drawn would not be seen as a line.
    let radius = if points.len() <= DOTS { 2.5 } else { 0.8 };
    for point in points.iter().filter(|point| can_draw(point)) {
        let [x, y] = place(point);
        let _ = writeln!(
            page,
            "<g><circle class=\"dot {color}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>\
             <circle class=\"touch\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"/>\
             <title>{}: {} at step {}, epoch {}</title></g>",
            escape(&line.name),
            number(point.value),
            point.step,
            number(point.epoch)
        );
    }
    thinned
}

/// All points, or, where there are too many, of each stretch of them the lowest, the highest and one that cannot be drawn: no
/// outlier is lost.
fn thin(points: &[Point]) -> (Vec<Point>, bool) {
    if points.len() <= MOST_POINTS {
        return (points.to_vec(), false);
    }
    let mut kept = Vec::new();
    for stretch in points.chunks(points.len().div_ceil(MOST_POINTS / 2)) {
        let drawn = || (0..stretch.len()).filter(|&at| can_draw(&stretch[at]));
        let by_value = |a: &usize, b: &usize| stretch[*a].value.total_cmp(&stretch[*b].value);
        let gap = (0..stretch.len()).find(|&at| !can_draw(&stretch[at]));
        let mut of_stretch: Vec<usize> =
            [drawn().min_by(by_value), drawn().max_by(by_value), gap].into_iter().flatten().collect();
        of_stretch.sort_unstable();
        of_stretch.dedup();
        kept.extend(of_stretch.into_iter().map(|at| stretch[at]));
    }
    (kept, true)
}

/// From numbers to places.
struct Axis {
    range: [f64; 2],
    places: [f64; 2],
    ticks: Vec<f64>,
    /// Between two ticks.
    step: f64,
}

impl Axis {
    /// Covers all of `values`, of which there is at least one. `whole`: ticks only at whole numbers.
    fn new(values: impl Iterator<Item = f64>, places: [f64; 2], whole: bool) -> Self {
        let (mut low, mut high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        // A line of equal numbers, or of numbers that differ by rounding, runs in the middle.
        let size = low.abs().max(high.abs());
        if high - low <= (size * 1e-9).max(SMALLEST) {
            let room = if whole || size <= SMALLEST { 1.0 } else { size * 0.1 };
            (low, high) = (low - room, high + room);
        }
        if whole {
            low = low.max(0.0);
        }
        // At most eight of them: 1, 2 or 5 times a power of ten apart.
        let rough = (high - low) / 6.0;
        let power = 10.0_f64.powf(rough.log10().floor());
        let nice = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let mut step = nice.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        if whole {
            step = step.max(1.0);
        } else {
            // A bound on a tick stays there, whatever the quotient is rounded to.
            low = (low / step + 1e-9).floor() * step;
            high = (high / step - 1e-9).ceil() * step;
        }
        let first = (low / step - 1e-9).ceil();
        let ticks = (0..12_u8).map(|n| (first + f64::from(n)) * step);
        let ticks = ticks.filter(|tick| *tick <= high + step * 1e-6).collect();
        Self { range: [low, high], places, ticks, step }
    }

    fn place(&self, value: f64) -> f64 {
        let [low, high] = self.range;
        let [from, to] = self.places;
        from + (value - low) / (high - low) * (to - from)
    }

    /// A tick in as many digits as tell it from its neighbors.
    fn label(&self, tick: f64) -> String {
        let largest = self.range[0].abs().max(self.range[1].abs());
        if tick.abs() < self.step / 2.0 {
            return "0".to_owned();
        }
        let digits = |of: f64| (of.log10().floor() - self.step.log10().floor() + 1e-9).max(0.0) as usize;
        if (1e-3..1e6).contains(&largest) {
            let decimals = (-(self.step.log10() + 1e-9).floor()).max(0.0) as usize;
            return format!("{tick:.decimals$}");
        }
        format!("{tick:.*e}", digits(tick.abs()).min(9))
    }
}

/// A number for people: five significant digits, no zeros at the end.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return value.to_string();
    }
    if !(1e-3..1e6).contains(&value.abs()) {
        let text = format!("{value:.4e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    let decimals = (4.0 - value.abs().log10().floor()).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-0.5, "-0.5"),
            (0.123_456, "0.12346"),
            (12_345.678, "12346"),
            (100.0, "100"),
            (2e-5, "2e-5"),
            (1.234_56e-7, "1.2346e-7"),
            (1e6, "1e6"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    fn labels(values: &[f64], whole: bool) -> Vec<String> {
        let axis = Axis::new(values.iter().copied(), [0.0, 100.0], whole);
        let labels: Vec<String> = axis.ticks.iter().map(|tick| axis.label(*tick)).collect();
        for value in values {
            assert!((-1e-9..=100.0 + 1e-9).contains(&axis.place(*value)), "{value}: {}", axis.place(*value));
        }
        assert!((2..=8).contains(&labels.len()), "{labels:?}");
        if !whole {
            let ends = [labels.len() - 1, 0].map(|tick| axis.place(axis.ticks[tick]));
            assert!((ends[0] - 100.0).abs() < 1e-6 && ends[1].abs() < 1e-6, "{labels:?} at {ends:?}");
        }
        let mut different = labels.clone();
        different.dedup();
        assert_eq!(different, labels);
        labels
    }

    #[test]
    fn axes_cover_what_they_show() {
        assert_eq!(
            labels(&[0.0, 1.0], false),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"].map(|l| if l == "0.0" { "0" } else { l })
        );
        assert_eq!(labels(&[0.0, 2e-5], false), ["0", "5e-6", "1.0e-5", "1.5e-5", "2.0e-5"]);
        assert_eq!(labels(&[0.33, 0.7], false), ["0.3", "0.4", "0.5", "0.6", "0.7"]);
        assert_eq!(labels(&[0.0, 500.0], true), ["0", "100", "200", "300", "400", "500"]);
        assert_eq!(labels(&[3.0, 5.0], true), ["3", "4", "5"]);
        labels(&[7.0], true);
        labels(&[0.0], true);
        for values in [
            [0.0, 0.0],
            [5.0, 5.0],
            [-3.0, -3.0],
            [1.0, 1.0 + 1e-16],
            [1e300, -1e300],
            [1e-300, 3e-300],
            [0.999, 1.001],
            [1e8, 1e8 + 7.0],
            [5e-324, 5e-324],
            [-1e-7, 1e9],
        ] {
            labels(&values, false);
        }
    }

    #[test]
    fn thinning_keeps_the_outliers() {
        let mut points: Vec<Point> =
            (0..12_345).map(|step| Point { step, epoch: 0.0, value: (step % 7) as f64 }).collect();
        points[4321].value = 99.0;
        points[5000].value = -99.0;
        points[6000].value = f64::NAN;
        let (kept, thinned) = thin(&points);
        assert!(thinned && kept.len() <= MOST_POINTS + 1, "{}", kept.len());
        assert!([99.0, -99.0].iter().all(|value| kept.iter().any(|point| point.value == *value)));
        assert!(kept.iter().any(|point| point.value.is_nan()));
        assert!(kept.is_sorted_by_key(|point| point.step));
        assert_eq!(thin(&points[..MOST_POINTS]), (points[..MOST_POINTS].to_vec(), false));
    }
}
