-- Departures and arrivals of each airport and day: a union below an aggregate.
SELECT
    airport,
    flight_day,
    count(*) AS movements,
    sum(departures) AS departures
FROM (
    SELECT origin AS airport, flight_day, 1 AS departures FROM clean_flights WHERE status <> 'cancelled'
    UNION ALL
    SELECT dest AS airport, flight_day, 0 AS departures FROM clean_flights WHERE status = 'landed'
) AS movement
GROUP BY airport, flight_day
