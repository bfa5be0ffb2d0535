/*
partition_by = ["month"]
*/
-- One row for each flight whose aircraft is known, with a real date.
SELECT
    flight_id,
    make_date(year, month, day) AS flight_day,
    month,
    carrier,
    flight,
    tailnum,
    origin,
    dest,
    time_hour,
    status,
    dep_delay,
    arr_delay,
    distance
FROM flights
WHERE tailnum IS NOT NULL
