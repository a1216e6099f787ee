//! What experiments are shown as: a page with a table and plots that needs nothing but itself, and each plot as a picture. Pure.

use super::chart::{Chart, escape};

/// A page, and its plots as files of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The page, as HTML.
    pub page: String,
    /// Names of files, and what they hold: SVG.
    pub pictures: Vec<(String, String)>,
}

impl Report {
    /// A page that says what was done, with a table and plots.
    pub(super) fn new(what: &str, columns: &[&str], rows: &[Vec<String>], charts: &[Chart]) -> Self {
        let cells = |tag: &str, cells: &[String]| {
            let cell = |text: &String| format!("<{tag}>{}</{tag}>", escape(text));
            format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<String>())
        };
        let headings: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let body: String = rows.iter().map(|row| cells("td", row)).collect();
        let figures: String = charts.iter().map(Chart::figure).collect();
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Berth: strategies of placement compared</title>\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style></head><body>\n\
             <h1>Strategies of placement compared</h1>\n<p>{}</p>\n<div class=\"wide\"><table>\n{}{body}</table></div>\n{figures}</body></html>\n",
            escape(what),
            cells("th", &headings),
        );
        let picture = |chart: &Chart| (format!("{}.svg", chart.name), chart.picture());
        Self {
            page,
            pictures: charts.iter().map(picture).collect(),
        }
    }
}

/// Lines keep their width where a plot is small, and what is written in it grows.
const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid #8885}\
    th{vertical-align:bottom}th:first-child,td:first-child{text-align:left;padding-left:0;min-width:10rem}.wide{overflow-x:auto}\
    figure{margin:2rem 0;max-width:60rem}figcaption{font-weight:600}\
    figure>svg{width:100%;height:auto}svg text{font-size:11px;fill:currentColor}.grid{stroke:#8884}polyline{vector-effect:non-scaling-stroke}\
    .legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}.legend li{overflow-wrap:anywhere}\
    @media(max-width:40rem){svg text{font-size:17px}h1{font-size:1.5rem}}";
