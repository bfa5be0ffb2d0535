//! The aggregates of the family: names, the functions that they stand in for, and documentation.

use datafusion::logical_expr::{DocSection, Documentation, DocumentationBuilder};

pub(super) const SECTION: DocSection = DocSection {
    include: true,
    label: "Exact Aggregate Functions",
    description: Some("Sums of floats, and what is made of them, that do not depend on the order of rows."),
};

/// What is computed from exact sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Statistic {
    Sum,
    Avg,
    VarSamp,
    VarPop,
    StddevSamp,
    StddevPop,
    CovarSamp,
    CovarPop,
    Corr,
    Slope,
    Intercept,
    R2,
    AvgX,
    AvgY,
    Sxx,
    Syy,
    Sxy,
}

/// Which sums a statistic needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Needs {
    /// Of the argument.
    Values,
    /// Of the argument and of its squares.
    Squares,
    /// Of both arguments and of their products.
    Products,
    /// Of both arguments, of their squares and of their products.
    Everything,
}

impl Needs {
    /// The names of the arguments whose sums are kept.
    pub fn argument_names(self) -> &'static [&'static str] {
        match self {
            Self::Values | Self::Squares => &["x"],
            Self::Products | Self::Everything => &["y", "x"],
        }
    }

    /// The documentation with what these arguments are.
    pub fn with_arguments(self, builder: DocumentationBuilder) -> DocumentationBuilder {
        let arguments = self.argument_names();
        arguments.iter().fold(builder, |builder, argument| {
            let role = match (arguments.len(), *argument) {
                (1, _) => "The numbers.",
                (_, "y") => "The dependent numbers.",
                _ => "The independent numbers.",
            };
            builder.with_argument(*argument, role)
        })
    }
}

impl Statistic {
    pub const ALL: [Self; 17] = [
        Self::Sum,
        Self::Avg,
        Self::VarSamp,
        Self::VarPop,
        Self::StddevSamp,
        Self::StddevPop,
        Self::CovarSamp,
        Self::CovarPop,
        Self::Corr,
        Self::Slope,
        Self::Intercept,
        Self::R2,
        Self::AvgX,
        Self::AvgY,
        Self::Sxx,
        Self::Syy,
        Self::Sxy,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum_exact",
            Self::Avg => "avg_exact",
            Self::VarSamp => "var_samp_exact",
            Self::VarPop => "var_pop_exact",
            Self::StddevSamp => "stddev_samp_exact",
            Self::StddevPop => "stddev_pop_exact",
            Self::CovarSamp => "covar_samp_exact",
            Self::CovarPop => "covar_pop_exact",
            Self::Corr => "corr_exact",
            Self::Slope => "regr_slope_exact",
            Self::Intercept => "regr_intercept_exact",
            Self::R2 => "regr_r2_exact",
            Self::AvgX => "regr_avgx_exact",
            Self::AvgY => "regr_avgy_exact",
            Self::Sxx => "regr_sxx_exact",
            Self::Syy => "regr_syy_exact",
            Self::Sxy => "regr_sxy_exact",
        }
    }

    /// The function of DataFusion that adds floats one after the other.
    pub fn counterpart(self) -> &'static str {
        match self {
            // Two of them have their other name, without the suffix, as their first.
            Self::VarSamp => "var",
            Self::StddevSamp => "stddev",
            _ => self.word(),
        }
    }

    /// What a state is asked for: the name without its suffix.
    pub fn word(self) -> &'static str {
        self.name().trim_end_matches("_exact")
    }

    pub fn needs(self) -> Needs {
        match self {
            Self::Sum | Self::Avg => Needs::Values,
            Self::VarSamp | Self::VarPop | Self::StddevSamp | Self::StddevPop => Needs::Squares,
            Self::CovarSamp | Self::CovarPop | Self::Sxy | Self::AvgX | Self::AvgY => Needs::Products,
            Self::Corr | Self::Slope | Self::Intercept | Self::R2 | Self::Sxx | Self::Syy => Needs::Everything,
        }
    }

    pub fn argument_names(self) -> &'static [&'static str] {
        self.needs().argument_names()
    }

    /// The function, what it means and for which rows it is NULL.
    fn description(self) -> (&'static str, &'static str) {
        match self {
            Self::Sum => ("The sum", "NULL for no rows; a sum of zeros is 0.0"),
            Self::Avg => ("The mean", "NULL for no rows; it does not overflow where the sum would"),
            Self::VarSamp => ("The sample variance", "NULL for less than two rows"),
            Self::VarPop => ("The population variance", "NULL for no rows"),
            Self::StddevSamp => ("The sample standard deviation", "NULL for less than two rows"),
            Self::StddevPop => ("The population standard deviation", "NULL for no rows"),
            Self::CovarSamp => ("The sample covariance of pairs", "NULL for less than two pairs"),
            Self::CovarPop => ("The population covariance of pairs", "NULL for no pairs"),
            Self::Corr => (
                "The coefficient of correlation of pairs",
                "NULL for less than two pairs, and where all x or all y are equal",
            ),
            Self::Slope => (
                "The slope of the line y = slope * x + intercept with the least squares",
                "NULL for less than two pairs, and where all x are equal",
            ),
            Self::Intercept => (
                "The intercept of the line y = slope * x + intercept with the least squares",
                "NULL for less than two pairs, and where all x are equal",
            ),
            Self::R2 => (
                "The square of the coefficient of correlation of pairs",
                "NULL for less than two pairs, and where all x or all y are equal",
            ),
            Self::AvgX => ("The mean of the x of pairs", "NULL for no pairs"),
            Self::AvgY => ("The mean of the y of pairs", "NULL for no pairs"),
            Self::Sxx => ("The sum of the squared distances of the x of pairs from their mean", "NULL for no pairs"),
            Self::Syy => ("The sum of the squared distances of the y of pairs from their mean", "NULL for no pairs"),
            Self::Sxy => (
                "The sum of the products of the distances of the x and the y of pairs from their means",
                "NULL for no pairs",
            ),
        }
    }

    /// Rows with what the function gives for them.
    fn example(self) -> (&'static str, &'static str) {
        const NUMBERS: &str = "(1.0), (2.0), (3.0), (4.0)";
        const PAIRS: &str = "(3.0, 1.0), (5.0, 2.0), (7.0, 3.0)";
        match self {
            Self::Sum => ("(1e16), (1.0), (-1e16)", "1.0"),
            Self::Avg => ("(0.1), (0.2), (0.3)", "0.2"),
            Self::VarSamp => (NUMBERS, "1.6666666666666667"),
            Self::VarPop => (NUMBERS, "1.25"),
            Self::StddevSamp => (NUMBERS, "1.2909944487358056"),
            Self::StddevPop => (NUMBERS, "1.118033988749895"),
            Self::CovarPop => (PAIRS, "1.3333333333333333"),
            Self::Corr | Self::Intercept | Self::R2 => (PAIRS, "1.0"),
            Self::CovarSamp | Self::Slope | Self::AvgX | Self::Sxx => (PAIRS, "2.0"),
            Self::AvgY => (PAIRS, "5.0"),
            Self::Syy => (PAIRS, "8.0"),
            Self::Sxy => (PAIRS, "4.0"),
        }
    }

    pub fn documentation(self) -> Documentation {
        let name = self.name();
        let arguments = self.argument_names();
        let (meaning, nulls) = self.description();
        let skipped = if arguments.len() == 1 { "NULLs are skipped" } else { "Pairs with a NULL are skipped" };
        let not_finite = match self {
            Self::Sum | Self::Avg | Self::AvgX | Self::AvgY => {
                "NaN, or infinities of both signs, give NaN; infinities of one sign give that infinity."
            }
            _ => "NaN and infinities give NaN.",
        };
        let description = format!(
            "{meaning} of floats: the exact value, rounded once to the nearest Float64. It is the same for every order of \
             the rows, which that of {} is not. {skipped}; it is {nulls}. {not_finite} Integers and decimals are \
             converted to Float64 first.",
            self.counterpart()
        );
        let (rows, result) = self.example();
        let columns = arguments.join(", ");
        let width = result.len().max("result".len());
        let line = format!("+{}+", "-".repeat(width + 2));
        let example = format!(
            "```sql\n> SELECT {name}({columns}) AS result FROM (VALUES {rows}) AS t({columns});\n{line}\n| {:<width$} |\n\
             {line}\n| {result:<width$} |\n{line}\n```",
            "result"
        );
        let builder =
            Documentation::builder(SECTION, description, format!("{name}({columns})")).with_sql_example(example);
        self.needs().with_arguments(builder).build()
    }
}
