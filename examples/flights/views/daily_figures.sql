-- A view over a view: the figures of each day and airport.
SELECT
    flight_day,
    origin,
    count(*) AS flights,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE arr_delay > 60) AS an_hour_late,
    sum(dep_delay) AS minutes_late,
    max(arr_delay) AS worst_arrival
FROM clean_flights
GROUP BY flight_day, origin
