-- As checked.lua with METHOD, BODY, CONTENT_TYPE and AUTH, but without a look at every answer, which costs the generator about a
-- third of its rate. Errors are wrk's own count of answers that are not 2xx or 3xx.
wrk.method = os.getenv("METHOD") or "GET"
wrk.body = os.getenv("BODY")
if wrk.body then wrk.headers["Content-Type"] = os.getenv("CONTENT_TYPE") or "application/x-www-form-urlencoded" end
if os.getenv("AUTH") then wrk.headers["Authorization"] = os.getenv("AUTH") end

-- DELAY: milliseconds between an answer and the next request of its connection.
local pause = tonumber(os.getenv("DELAY") or "0")
if pause > 0 then
  function delay() return pause end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT n=%d us=%d p50_us=%d p99_us=%d bad=%d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.status + e.connect + e.read + e.write + e.timeout))
end
