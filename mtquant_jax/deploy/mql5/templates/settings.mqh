// What a user can set. Money is in account currency; shares are of the capital that is traded with.

input group "Account"
input bool   InpDryRun = true;             // Dry run: orders are journalled as filled and not sent
input double InpCapitalShare = 0.10;       // Share of the account's equity to trade with, above 0, up to 1
input long   InpRealLogin = 0;             // Login of the real account; 0: demo accounts only
input long   InpMagic = 20260101;          // Magic number of its orders, one for each chart

input group "Symbols and clock"
input string InpSuffix = "";               // Suffix of the broker's symbols, such as .pro
input string InpAliases = "";              // Other names: XAUUSD=GOLD;SPX500=US500.cash
input ENUM_SERVER_CLOCK InpServerClock = SERVER_CLOCK_MODEL; // Clock of the trade server

input group "Orders"
input int    InpBarDelay = 5;              // Seconds to wait for the last ticks of a bar
input int    InpOrderWindow = 900;         // Seconds after a bar's open in which its orders are sent
input int    InpRetries = 3;               // Further tries of an order that the server did not take
input int    InpDeviation = 20;            // Largest deviation from the quote, points
input double InpMaxSpread = 3.0;           // Largest spread of an order that adds risk, multiple of the usual one
input double InpEmergencyStop = 0.0;       // Distance of a stop at the broker, share of the price; 0: none

input group "Kill switch"
input double InpDayLoss = 0.05;            // Loss of a day from which everything is closed until the next; 0: off
input double InpEquityLoss = 0.25;         // Loss since the first start from which everything is closed for good; 0: off
input bool   InpClearStop = false;         // Trade again after the kill switch has closed everything for good

input group "History"
input int    InpWarmUpBars = 2500;         // Bars that features are computed of before the first decision
