-- wrk script: one request again and again, every answer checked. From the environment:
--   METHOD, BODY (a form, or of CONTENT_TYPE), AUTH (value of Authorization), AUTH_FILE (one such value per line, taken in turn),
--   EXPECT (text that every body must hold), RUN (a word of this run's own).
-- `@N@` in BODY becomes RUN and a number, other ones in every request.
local method = os.getenv("METHOD") or "POST"
local body = os.getenv("BODY")
local expect = os.getenv("EXPECT")
local headers = { ["Accept"] = "application/json" }
if body then headers["Content-Type"] = os.getenv("CONTENT_TYPE") or "application/x-www-form-urlencoded" end
if os.getenv("AUTH") then headers["Authorization"] = os.getenv("AUTH") end
local threads = {}
local prepared = {}
local turn = 0
local serial = 0
local is_numbered = body and string.find(body, "@N@", 1, true)
local run = os.getenv("RUN") or ""

-- A request, or what it takes to make one when each has a number.
local function prepare(authorization)
  headers["Authorization"] = authorization
  if not is_numbered then return wrk.format(method, nil, headers, body) end
  local own = {}
  for name, value in pairs(headers) do own[name] = value end
  return own
end

function setup(thread) table.insert(threads, thread) end

function init(args)
  bad = 0
  missing = 0
  if os.getenv("AUTH_FILE") then
    for line in io.lines(os.getenv("AUTH_FILE")) do
      table.insert(prepared, prepare(line))
    end
  else
    table.insert(prepared, prepare(os.getenv("AUTH")))
  end
end

function request()
  turn = turn % #prepared + 1
  if not is_numbered then return prepared[turn] end
  serial = serial + 1
  return wrk.format(method, nil, prepared[turn], (string.gsub(body, "@N@", run .. "n" .. serial)))
end

function response(status, _, text)
  if status < 200 or status > 299 then bad = bad + 1
  elseif expect and not string.find(text, expect, 1, true) then missing = missing + 1 end
end

-- DELAY: milliseconds between an answer and the next request of its connection.
local pause = tonumber(os.getenv("DELAY") or "0")
if pause > 0 then
  function delay() return pause end
end

function done(summary, latency)
  local b, m = 0, 0
  for _, thread in ipairs(threads) do b = b + thread:get("bad"); m = m + thread:get("missing") end
  io.write(string.format("RESULT n=%d us=%d p50_us=%d p99_us=%d bad=%d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    b + m + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
