/*
partition_by = ["month"]
*/
-- Late departures beside the weather of that hour and the aircraft: a join of three tables, each of which may change.
SELECT
    f.flight_id,
    f.month,
    f.time_hour,
    f.origin,
    f.dest,
    f.carrier,
    f.dep_delay,
    w.temp,
    w.wind_speed,
    w.precip,
    w.visib,
    p.manufacturer,
    p.model,
    p.seats,
    f.year - p.year AS aircraft_age
FROM flights f
JOIN weather w ON w.origin = f.origin AND w.time_hour = f.time_hour
JOIN planes p ON p.tailnum = f.tailnum
WHERE f.dep_delay > 15
