local t = require "si.testing"

describe("rules/agent_down.lua", function()
  before_each(function() t.load({ dashboard = true }, "rules/agent_down.lua") end)

  it("agent_down fires after six minutes of silence and names the host", function()
    t.series { metric = "agent.silence/web-17/3", "10 .. 400 x 40", every = "10s" }
    t.series { metric = "agent.silence/web-18/4", "60 x 60", every = "10s" }
    t.advance "5m"
    assert.is_not.fires("agent_down", "agent.silence/web-17/3")
    t.advance "90s"
    assert.fires("agent_down", "agent.silence/web-17/3")
    assert.is_not.fires("agent_down", "agent.silence/web-18/4")
    assert.truthy(t.alerts("agent_down")[1].summary:find("no report from web-17 for 6 minutes", 1, true))
  end)

  it("agent_down resolves when the agent reports again", function()
    t.series { metric = "agent.silence/web-17/3", "400 x 6", "10 x 30", every = "10s" }
    t.advance "1m"
    assert.fires("agent_down", "agent.silence/web-17/3")
    t.advance "4m"
    assert.resolves("agent_down", "agent.silence/web-17/3")
  end)

  it("crash_loop_anywhere fires when programs crash again and again, whichever they are, and ends with it", function()
    t.series { error = "crash: SIGSEGV", "0 x 5", 1, "0 x 4", 1, "0 x 60", every = "1m" }
    t.advance "20m"
    assert.is_not.fires("crash_loop_anywhere", "crash: SIGSEGV") -- two are bad luck
    t.advance "55m"
    t.series { error = "crash: SIGSEGV", 1, "0 x 3", 2, "0 x 60", every = "1m" } -- two of them at once
    t.advance "10m"
    assert.fires("crash_loop_anywhere", "crash: SIGSEGV")
    assert.equal("crashed 3 times in the last half hour: crash: SIGSEGV", t.alerts("crash_loop_anywhere")[1].summary)
    t.advance "45m"
    assert.resolves("crash_loop_anywhere", "crash: SIGSEGV")
  end)
end)
