-- Every carrier flies every day, so every group changes every day: the daemon weighs both ways and says what it chose.
SELECT
    f.carrier,
    a.name,
    count(*) AS flights,
    count(f.dep_delay) AS departed,
    avg(f.arr_delay) AS mean_arrival_delay,
    sum(f.distance) AS miles
FROM flights f
JOIN airlines a ON a.carrier = f.carrier
GROUP BY f.carrier, a.name
