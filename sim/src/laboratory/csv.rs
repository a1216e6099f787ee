//! Tables as text: a line of headings, and a line for each row with commas between the cells. Columns are found by their headings, and more
//! of them than are asked for do no harm. There is no quoting: a cell holds neither commas nor quotes. Pure.

use std::str::FromStr;

use thiserror::Error;

/// Why a table is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CsvError {
    /// There is no line.
    #[error("there is not a single line: the first one must name the columns")]
    Empty,
    /// A column is missing.
    #[error("there is no column {column}: the first line names {found}")]
    NoColumn {
        /// The column.
        column: &'static str,
        /// The headings that there are.
        found: String,
    },
    /// A row has another number of cells than there are headings.
    #[error("line {line} has {cells} cells and not {headings}; quotes and commas within a cell are not understood")]
    Cells {
        /// Where.
        line: usize,
        /// How many it has.
        cells: usize,
        /// How many it should have.
        headings: usize,
    },
    /// A cell is not what the column holds.
    #[error("line {line}: {column} is '{cell}', and must be {expected}")]
    Cell {
        /// Where.
        line: usize,
        /// The column.
        column: &'static str,
        /// What is there.
        cell: String,
        /// What should be.
        expected: &'static str,
    },
}

/// A table that has been split into cells.
pub(super) struct Table<'t> {
    headings: Vec<&'t str>,
    rows: Vec<(usize, Vec<&'t str>)>,
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(super) struct Column {
    heading: &'static str,
    /// Where it is; a column that is not there has empty cells.
    index: Option<usize>,
}

/// A row of a table.
#[derive(Clone, Copy)]
pub(super) struct Row<'t> {
    line: usize,
    cells: &'t [&'t str],
}

impl<'t> Table<'t> {
    /// # Errors
    /// If there is no heading, or a row has another number of cells.
    pub(super) fn parse(text: &'t str) -> Result<Self, CsvError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let split = |line: &'t str| line.split(',').map(str::trim).collect::<Vec<_>>();
        let headings = split(lines.next().ok_or(CsvError::Empty)?.1);
        let rows: Vec<(usize, Vec<&str>)> = lines.map(|(number, line)| (number, split(line))).collect();
        let odd = rows.iter().find(|(_, cells)| cells.len() != headings.len());
        match odd {
            Some((line, cells)) => Err(CsvError::Cells {
                line: *line,
                cells: cells.len(),
                headings: headings.len(),
            }),
            None => Ok(Self { headings, rows }),
        }
    }

    pub(super) fn has(&self, heading: &str) -> bool {
        self.headings.contains(&heading)
    }

    /// # Errors
    /// If there is none with this heading.
    pub(super) fn column(&self, heading: &'static str) -> Result<Column, CsvError> {
        let column = self.optional(heading);
        column.index.map(|_| column).ok_or_else(|| CsvError::NoColumn {
            column: heading,
            found: self.headings.join(","),
        })
    }

    /// A column that may be missing.
    pub(super) fn optional(&self, heading: &'static str) -> Column {
        let index = self.headings.iter().position(|found| *found == heading);
        Column { heading, index }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, cells)| Row { line: *line, cells })
    }
}

impl<'t> Row<'t> {
    pub(super) fn text(&self, column: Column) -> &'t str {
        column.index.map_or("", |index| self.cells[index])
    }

    /// # Errors
    /// If the cell is no such number.
    pub(super) fn number<N: FromStr>(&self, column: Column) -> Result<N, CsvError> {
        let cell = self.text(column);
        cell.parse()
            .map_err(|_| self.refuse(column, "a whole number that is not negative and not too large"))
    }

    /// The same for a cell that may be empty.
    ///
    /// # Errors
    /// If the cell is neither empty nor such a number.
    pub(super) fn number_or_none<N: FromStr>(&self, column: Column) -> Result<Option<N>, CsvError> {
        match self.text(column) {
            "" => Ok(None),
            _ => self.number(column).map(Some),
        }
    }

    /// Says what the cell should be.
    pub(super) fn refuse(&self, column: Column, expected: &'static str) -> CsvError {
        CsvError::Cell {
            line: self.line,
            column: column.heading,
            cell: self.text(column).to_owned(),
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_with_more_columns_than_asked_for_is_read_by_its_headings() {
        let table = Table::parse("a,b,c\n1,x,3\n\n4,y,\n").expect("a table");
        let (a, c) = (table.column("a").expect("there"), table.column("c").expect("there"));
        let rows: Vec<(u32, Option<u32>)> = table
            .rows()
            .map(|row| {
                (
                    row.number(a).expect("a number"),
                    row.number_or_none(c).expect("a number"),
                )
            })
            .collect();
        assert_eq!(rows, [(1, Some(3)), (4, None)]);
    }

    #[test]
    fn table_that_is_not_understood_is_refused_with_the_line_and_the_reason() {
        let refused = |text: &str| Table::parse(text).err().expect("refused").to_string();
        assert!(refused("").contains("not a single line"));
        assert!(refused("a,b\n1,2\n1,\"2,3\"\n").starts_with("line 3 has 3 cells and not 2"));
        let table = Table::parse("a\nx\n").expect("a table");
        let a = table.column("a").expect("there");
        let error = table
            .rows()
            .next()
            .expect("a row")
            .number::<u32>(a)
            .expect_err("no number");
        assert!(
            error
                .to_string()
                .starts_with("line 2: a is 'x', and must be a whole number")
        );
        assert!(
            table
                .column("z")
                .err()
                .expect("none")
                .to_string()
                .contains("no column z")
        );
    }
}
