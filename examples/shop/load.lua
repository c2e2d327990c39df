-- Customers, for wrk: wrk -t1 -c4 -d60s -s examples/shop/load.lua http://127.0.0.1:PORT
-- They look around, search, order and pay, with pauses, so that a two-core machine is about a third busy. The mix is the same in every run.

local searches = { "lamp", "chair", "red", "batch 42", "days", "kettle", "nothing like this" }
local form = { ["Content-Type"] = "application/x-www-form-urlencoded" }
local turn, order = 0, 0

function delay() -- milliseconds before the next request of a connection
  return 30 + turn * 7 % 60
end

function request()
  turn = turn + 1
  local step = turn % 20
  if step == 3 or step == 13 then
    return wrk.format("GET", "/products?q=" .. searches[turn % #searches + 1]:gsub(" ", "%%20"))
  elseif step % 4 == 0 then
    return wrk.format("POST", "/orders", form, ("product=%d&quantity=%d"):format(1 + turn * 37 % 20000, 20 + turn % 100))
  elseif step % 4 == 1 then
    order = order + 1
    return wrk.format("POST", "/checkout", form, "order=" .. order)
  elseif step == 10 then
    return wrk.format("GET", "/report")
  elseif step == 18 then
    return wrk.format("GET", "/")
  end
  return wrk.format("GET", "/products/" .. 1 + turn * 101 % 20000)
end
