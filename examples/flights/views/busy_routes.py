"""Routes with their distance and delay, written as DataFrame code."""

from datafusion import DataFrame, col, lit
from datafusion import functions as f

from registry.authoring import view


@view(target_lag="5m")
def busy_routes(clean_flights: DataFrame, airports: DataFrame) -> DataFrame:
    """Figures of each route to an airport that is on record; the parameters name the inputs."""
    destinations = airports.select(col("faa"), col("name").alias("destination"))
    flown = clean_flights.filter(col("status") == lit("landed"))
    return flown.join(destinations, left_on="dest", right_on="faa", how="inner").aggregate(
        [col("origin"), col("dest"), col("destination")],
        [
            f.count(lit(1)).alias("flights"),
            f.avg(col("arr_delay")).alias("mean_arrival_delay"),
            f.max(col("distance")).alias("miles"),
        ],
    )
