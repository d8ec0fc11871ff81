//! A drawing: what a chart needs of SVG. It has a light ground of its own, so that it can be read on any page.

use std::fmt::{Display, Write};

pub(crate) const INK: &str = "#1f2933";
pub(crate) const PALE: &str = "#66717e";
pub(crate) const RULE: &str = "#dfe3e8";
/// Told apart in any kind of sight, and in print by their lightness.
pub(crate) const COLOURS: [&str; 4] = ["#0b61a4", "#d9822b", "#1d9a8a", "#8a4b1f"];
pub(crate) const GOOD: &str = "#0b61a4";
pub(crate) const BAD: &str = "#c0362c";

const MARGIN: f64 = 20.0;

/// Where a text stands to its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Title,
    Strong,
    Plain,
    Small,
}

pub(crate) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    /// With a title and lines below it that say what is to be seen.
    pub(crate) fn new(width: f64, height: f64, title: &str, lines: &[&str]) -> Self {
        let mut svg = Self { width, height, body: String::new() };
        svg.text((MARGIN, 32.0), Anchor::Start, Style::Title, INK, title);
        for (place, line) in lines.iter().enumerate() {
            svg.text((MARGIN, 52.0 + 16.0 * place as f64), Anchor::Start, Style::Plain, PALE, line);
        }
        svg
    }

    pub(crate) fn text(&mut self, at: (f64, f64), anchor: Anchor, style: Style, colour: &str, text: impl Display) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (size, weight) = match style {
            Style::Title => (17, 600),
            Style::Strong => (12, 600),
            Style::Plain => (12, 400),
            Style::Small => (11, 400),
        };
        let text = text.to_string().replace('&', "&amp;").replace('<', "&lt;");
        let (x, y) = at;
        self.push(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{colour}">{text}</text>"#
        ));
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>"#
        ));
    }

    pub(crate) fn dot(&mut self, at: (f64, f64), radius: f64, colour: &str) {
        let (x, y) = at;
        self.push(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{colour}"/>"#));
    }

    pub(crate) fn path(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.push(format_args!(r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#));
    }

    fn push(&mut self, element: impl Display) {
        writeln!(self.body, "{element}").expect("a string takes everything");
    }

    pub(crate) fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif">
<rect x="0.5" y="0.5" width="{}" height="{}" rx="8" fill="#ffffff" stroke="{RULE}"/>
{body}</svg>
"##,
            width - 1.0,
            height - 1.0
        )
    }
}

/// A logarithmic axis: a value's place between two ends.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) values: (f64, f64),
    pub(crate) places: (f64, f64),
}

impl Scale {
    /// Whole decades around the values.
    pub(crate) fn decades(values: impl Iterator<Item = f64> + Clone, places: (f64, f64)) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(0.0, f64::max);
        // Exact, where 10 to a power is not.
        let power = |exponent: f64| format!("1e{exponent}").parse().expect("a number");
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        Self { values: (power(low), power(high.max(low + 1.0))), places }
    }

    /// What is beyond an end is at the end.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let ((low, high), (from, to)) = (self.values, self.places);
        let share = (value / low).ln() / (high / low).ln();
        from + (to - from) * share.clamp(0.0, 1.0)
    }

    /// The ends, and the powers of ten between them.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.values;
        std::iter::successors(Some(low), |tick| Some(tick * 10.0)).take_while(|tick| *tick <= high * 1.001).collect()
    }
}
