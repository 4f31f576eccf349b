-- What wrk sends and says, in every scenario of `cargo xtask bench`. After `--` on its command line:
--   body SIZE      POST that many bytes
--   tokens FILE    the bearer tokens of the file's lines, in turn
-- Responses are not looked at here: that would cost the load tool's core more than the proxy's.

local bearer = {}

local options = {
   body = function(size)
      wrk.method = "POST"
      wrk.body = ("x"):rep(tonumber(size))
   end,
   tokens = function(file)
      for token in io.lines(file) do
         wrk.headers["Authorization"] = "Bearer " .. token
         table.insert(bearer, wrk.format())
      end
      local last = 0
      -- wrk calls a global of this name for each request, and formats one request for all when there is none.
      request = function()
         last = last % #bearer + 1
         return bearer[last]
      end
   end,
}

function init(args)
   for at = 1, #args, 2 do
      options[args[at]](args[at + 1])
   end
end

function done(summary, latency)
   local errors = summary.errors
   local figures = {
      requests = summary.requests, duration_us = summary.duration, bytes = summary.bytes,
      connect = errors.connect, read = errors.read, write = errors.write, status = errors.status, timeout = errors.timeout,
      p50_us = latency:percentile(50), p99_us = latency:percentile(99),
   }
   for name, value in pairs(figures) do
      print(("figure %s %.0f"):format(name, value))
   end
end
