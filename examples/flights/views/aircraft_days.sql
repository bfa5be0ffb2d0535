-- What each aircraft did on each day: an identifier that never changes, its maker under one spelling, where it went,
-- and its most delayed flight.  Functions of the engine and one of this project (functions/is_late.sql).
SELECT
    stable_id_parts('aircraft_day', f.tailnum, f.flight_day) AS aircraft_day_id,
    f.tailnum,
    f.flight_day,
    utf8_normalize(p.manufacturer, 'NFKC', true) AS maker,
    count(*) AS flights,
    collect_set(f.dest) AS destinations,
    arg_max(f.flight_id, f.dep_delay) AS most_delayed,
    count_if(is_late(f.arr_delay)) AS late,
    sum(f.distance) AS miles
FROM clean_flights f
JOIN planes p ON p.tailnum = f.tailnum
GROUP BY f.tailnum, f.flight_day, utf8_normalize(p.manufacturer, 'NFKC', true)
