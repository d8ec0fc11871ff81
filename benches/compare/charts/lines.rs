//! Lines over two logarithmic axes.

use crate::svg::{Anchor, INK, PALE, RULE, Scale, Style, Svg};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 456.0;
const LEFT: f64 = 90.0;
/// Where the drawing ends and the names of the lines begin.
const RIGHT: f64 = 690.0;
const TOP: f64 = 116.0;
const BOTTOM: f64 = HEIGHT - 60.0;
/// Names of lines are so far from each other.
const NAME: f64 = 18.0;

pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) lines: &'a [&'a str],
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

pub(crate) struct Axis {
    pub(crate) name: &'static str,
    /// How a value is shown.
    pub(crate) tick: fn(f64) -> String,
}

pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    /// By ascending x.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    /// `None` when there is no line.
    pub(crate) fn draw(self) -> Option<String> {
        let series: Vec<Series> = self.series.into_iter().filter(|series| !series.points.is_empty()).collect();
        let points = || series.iter().flat_map(|series| &series.points);
        points().next()?;
        let across = Scale::decades(points().map(|(x, _)| *x), (LEFT, RIGHT));
        let up = Scale::decades(points().map(|(_, y)| *y), (BOTTOM, TOP));

        let mut svg = Svg::new(WIDTH, HEIGHT, self.title, self.lines);
        for tick in up.ticks() {
            let y = up.place(tick);
            svg.line((LEFT, y), (RIGHT, y), RULE, 1.0);
            svg.text((LEFT - 10.0, y + 4.0), Anchor::End, Style::Small, PALE, (self.y.tick)(tick));
        }
        for tick in across.ticks() {
            let x = across.place(tick);
            svg.line((x, TOP), (x, BOTTOM), RULE, 1.0);
            svg.text((x, BOTTOM + 20.0), Anchor::Middle, Style::Small, PALE, (self.x.tick)(tick));
        }
        svg.text(((LEFT + RIGHT) / 2.0, BOTTOM + 42.0), Anchor::Middle, Style::Plain, INK, self.x.name);
        svg.text((LEFT, TOP - 12.0), Anchor::Start, Style::Plain, INK, self.y.name);

        // From the top down, and never one over another.
        let mut named: Vec<(f64, &Series)> =
            series.iter().filter_map(|series| Some((up.place(series.points.last()?.1), series))).collect();
        named.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free_from = TOP;
        for (y, series) in named {
            let points: Vec<_> = series.points.iter().map(|(x, y)| (across.place(*x), up.place(*y))).collect();
            svg.path(&points, series.colour);
            points.iter().for_each(|point| svg.dot(*point, 4.0, series.colour));
            let y = y.max(free_from);
            free_from = y + NAME;
            let last = series.points.last().map_or(String::new(), |(_, y)| (self.y.tick)(*y));
            let name = format!("{}: {last}", series.name);
            svg.text((RIGHT + 14.0, y + 4.0), Anchor::Start, Style::Strong, series.colour, name);
        }
        Some(svg.finish())
    }
}
